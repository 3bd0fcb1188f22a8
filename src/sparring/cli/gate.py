"""spar gate: judge a run by rules; the exit code is the verdict."""

from typing import Annotated

import typer


def command(
    run: Annotated[str, typer.Argument(help="A run folder, the beginning of its name, or last.")] = "last",
    rule: Annotated[list[str] | None, typer.Option(help="A rule; may be given several times. By default those of the plan.")] = None,
    out: Annotated[str, typer.Option(help="Where runs lie.")] = "runs",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing; the exit code tells.")] = False,
) -> None:
    """Check a run against its gate, by the worse end of each 95 % interval.

    Example: spar gate last --rule "robust_accuracy[linf 0.1] >= 0.45"
    """
    from sparring.bench.gate import judge_gate
    from sparring.bench.run import Run
    from sparring.cli.summary import judged_line, latest, print_json
    from sparring.core.errors import PlanError

    found = Run.open(latest(out, run))
    judged = judge_gate(found, list(rule)) if rule else found.record.header["gate"]
    if not judged:
        raise PlanError('the plan of this run has no gate: add --rule "robust_accuracy >= 0.45"')
    if found.status != "done":
        typer.echo(f"the run is {found.status}, not done: continue it before judging it", err=True)
        raise typer.Exit(3)
    if json:
        print_json(judged)
    elif not quiet:
        for one in judged:
            typer.echo(f"{'met   ' if one['met'] else 'MISSED'}  {one['rule']}  {judged_line(one)}")
    raise typer.Exit(0 if all(one["met"] for one in judged) else 1)
