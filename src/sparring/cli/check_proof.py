"""spar check-proof: does a proof file prove what it says?"""

from typing import Annotated

import typer


def command(
    proof: Annotated[str, typer.Argument(help="A file that spar certify --proof wrote.")],
    network: Annotated[str | None, typer.Option(help="The ONNX file that it is about: the proof has to name its sha256 and hold its network.")] = None,
) -> None:
    """Verify a proof file with a checker that shares no code with what wrote it.

    Exit codes: 0 verified, 1 rejected, 2 it cannot be read. The same without this package: python check_proof.py PROOF.

    Example: spar check-proof answer.proof --network network.onnx
    """
    from sparring import check_network, check_proof

    code = check_proof.main([proof, *([] if network is None else ["--network", network])])
    raise typer.Exit(code if code or network is None else check_network.main([proof, network]))
