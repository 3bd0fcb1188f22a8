"""spar merge: combine the shards of one run."""

import contextlib
import os
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

    The parts of the other workers are checked and copied into the first run folder, all or none. The gate of the plan is judged when the run is complete.

    Examples:

    \b
      spar merge a/7f3a-net b/7f3a-net
    """
    from sparring.bench.gate import conclude, rules_of
    from sparring.bench.header import finish
    from sparring.bench.run import Run
    from sparring.cli.summary import print_run
    from sparring.records.merge import merge

    found = Run.open(run)
    distinct = {os.path.realpath(found.record.store.root): found.record}
    for other in (Run.open(other).record for other in others):
        distinct.setdefault(os.path.realpath(other.store.root), other)
    with contextlib.ExitStack() as held:
        for record in distinct.values():
            held.enter_context(record.store.locked())
        merge(found.record, [*distinct.values()][1:])
        finish(found.record)
        conclude(found, rules_of(found))
    raise typer.Exit(print_run(found, as_json=json, quiet=quiet, report=found.report()))
