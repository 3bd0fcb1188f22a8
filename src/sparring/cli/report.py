"""spar report: write the report of a run again."""

from typing import Annotated

import typer

from sparring.cli.completion import complete_runs
from sparring.cli.terminal import echo


def command(
    run: Annotated[str, typer.Argument(help="A run folder, the beginning of its name, or last for the newest.", autocompletion=complete_runs)] = "last",
    output: Annotated[str | None, typer.Option("--output", "-o", help="Where to write the report; report.html in the run folder if left out.")] = None,
    out: Annotated[str, typer.Option(help="The folder or URL that holds the runs.")] = "runs",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing.")] = False,
) -> None:
    """Write the report of a run as one offline HTML file.

    Examples:

    \b
      spar report last -o report.html
    """
    from sparring.bench.run import Run
    from sparring.cli.summary import latest, print_json

    written = Run.open(latest(out, run)).report(output)
    if json:
        print_json({"report": written})
    elif not quiet:
        echo(written)
