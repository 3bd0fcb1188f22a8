"""spar check-proof: does a proof file prove what it says?"""

from typing import Annotated

import typer


def command(
    proof: Annotated[str, typer.Argument(help="A proof file written by spar certify --proof.")],
    network: Annotated[str | None, typer.Option(help="The ONNX file of the network: its sha256 and its weights must match the proof.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing; use the exit code.")] = False,
) -> None:
    """Verify a proof file with a checker that is independent of the certifiers.

    Exit codes: 0 verified, 1 rejected, 2 unreadable. Without this package, use: python -m sparring_check PROOF.

    Example: spar check-proof answer.proof --network network.onnx
    """
    import contextlib
    import io

    from sparring_check import check

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = check(proof, network)
    if json:
        from sparring.cli.summary import print_json

        print_json({"verified": code == 0, "exit": code, "said": said.getvalue().splitlines()})
    elif not quiet:
        typer.echo(said.getvalue(), nl=False, err=code == 2)
    raise typer.Exit(code)
