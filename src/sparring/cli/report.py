"""spar report: write the report of a run again."""

from typing import Annotated

import typer


def command(
    run: Annotated[str, typer.Argument(help="A run folder, the start of its name, or last.")] = "last",
    output: Annotated[str | None, typer.Option("--output", "-o", help="The file to write. Default: report.html in the run folder.")] = None,
    out: Annotated[str, typer.Option(help="The folder that contains the runs.")] = "runs",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing.")] = False,
) -> None:
    """Write the report of a run as one HTML file that works offline.

    Example: spar report last -o report.html
    """
    from sparring.bench.run import Run
    from sparring.cli.summary import latest, print_json

    written = Run.open(latest(out, run)).report(output)
    if json:
        print_json({"report": written})
    elif not quiet:
        typer.echo(written)
