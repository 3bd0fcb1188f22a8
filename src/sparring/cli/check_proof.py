"""spar check-proof: does a proof file prove what it says?"""

from typing import Annotated

import typer

from sparring.cli.terminal import echo


def command(
    proof: Annotated[str, typer.Argument(help="A file that spar certify --proof has written.")],
    network: Annotated[str | None, typer.Option(help="The ONNX file that the proof is about; the proof must name its sha256 and hold its network.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing; use the exit code.")] = False,
) -> None:
    """Verify a proof file with an independent checker.

    The checker shares no code with what wrote the proof. python -m sparring_check PROOF does the same without this command.

    Exit codes: 0 verified, 1 rejected, 2 the proof cannot be read.

    Examples:

    \b
      spar check-proof answer.proof --network network.onnx
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
        echo(said.getvalue().rstrip("\n"), lines=True, err=code == 2)
    raise typer.Exit(code)
