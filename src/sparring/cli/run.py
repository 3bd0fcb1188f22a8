"""spar run: evaluate models, or continue an interrupted evaluation."""

from typing import Annotated

import typer

from sparring.cli.completion import complete_plan
from sparring.cli.words import read_words


def command(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PLAN.yaml] [key=value ...]", help="A plan in a file, and keys that change it.", show_default=False, autocompletion=complete_plan
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing; use the exit code.")] = False,
    keys: Annotated[bool, typer.Option("--keys", help="List the keys of a plan and exit.")] = False,
) -> None:
    """Attack models, and write a record and a report.

    Without arguments the embedded default is run. The same command continues a run that was interrupted. spar run --keys lists the
    keys of a plan.

    Exit codes: 0 the run is done and its gate met, 1 the gate is missed, 2 wrong use, 3 incomplete or failed, 130 interrupted.

    Examples:

    \b
      spar run
      spar run model=zoo:digits-plain data=digits threat="linf 0.1"
      spar run model=zoo:digits-plain data=digits threat="linf 0.1" \\
          attacks="pgd(steps=50), square" gate="robust_accuracy >= 0.45"
      spar run plan.yaml take=100
    """
    from sparring.bench.plan import Plan, meanings

    if keys:
        from sparring.cli.summary import print_keys

        print_keys(meanings())
        return
    path, changes = read_words([*(words or []), *context.args])
    plan = Plan.of(changes) if path is None and {"model", "data", "threat", "evaluations", "aim"} & set(changes) else Plan.read(path, changes)

    from sparring.cli.display import Display  # what imports torch comes after the plan, whose slips are answered at once
    from sparring.cli.process import tune_allocator
    from sparring.cli.summary import print_run

    tune_allocator()
    with Display(quiet or json) as display:
        run = plan.run(listen=display)
        report = run.report()
    raise typer.Exit(print_run(run, as_json=json, quiet=quiet, report=report))
