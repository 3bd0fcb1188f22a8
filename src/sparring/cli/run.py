"""spar run: evaluate models, or continue an interrupted evaluation."""

from typing import Annotated

import typer

from sparring.cli.words import read_words


def command(
    context: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[PLAN.yaml] [key=value ...]", help="A plan file, and keys that override it.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing; use the exit code.")] = False,
    keys: Annotated[bool, typer.Option("--keys", help="List the keys of a plan.")] = False,
) -> None:
    """Evaluate models under attack; write the record and the report.

    Run the same command again to continue an interrupted run. Without arguments, the default plan of the package is run. Example:

    spar run model=zoo:digits-plain data=digits threat="linf 0.1" attacks="pgd(steps=50), square"
    """
    from sparring.bench.plan import Plan
    from sparring.cli.display import Display
    from sparring.cli.process import tune_allocator
    from sparring.cli.summary import print_run

    if keys:
        for name, field in Plan.model_fields.items():
            typer.echo(f"{name:12} {field.description}")
        return
    tune_allocator()
    path, changes = read_words([*(words or []), *context.args])
    plan = Plan.of(changes) if path is None and {"model", "evaluations", "aim"} & set(changes) else Plan.read(path, changes)
    with Display(quiet or json) as display:
        run = plan.run(listen=display)
        report = run.report()
    raise typer.Exit(print_run(run, as_json=json, quiet=quiet, report=report))
