"""spar merge: combine the shards of one run."""

from typing import Annotated

import typer

from sparring.cli.completion import complete_runs


def command(
    run: Annotated[str, typer.Argument(help="The run folder that is completed.", autocompletion=complete_runs)],
    others: Annotated[list[str], typer.Argument(help="Run folders of the other workers.", autocompletion=complete_runs)],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing; use the exit code.")] = False,
) -> None:
    """Merge the shards of one run.

    The parts of the other workers are copied into the first run folder.

    Examples:

    \b
      spar merge a/7f3a-net b/7f3a-net
    """
    from sparring.bench.header import finish
    from sparring.bench.run import Run
    from sparring.cli.summary import print_run

    found = Run.open(run)
    found.record.merge(Run.open(other).record for other in others)
    finish(found.record)
    raise typer.Exit(print_run(found, as_json=json, quiet=quiet, report=found.report()))
