"""spar gate: judge a run by rules and report the result as exit code."""

from typing import Annotated

import typer

from sparring.cli.completion import complete_runs
from sparring.cli.terminal import echo


def command(
    run: Annotated[str, typer.Argument(help="A run folder, the beginning of its name, or last for the newest.", autocompletion=complete_runs)] = "last",
    rule: Annotated[list[str] | None, typer.Option(help="A rule; repeat the option for more rules. Without it, the rules of the plan are used.")] = None,
    out: Annotated[str, typer.Option(help="The folder or URL that holds the runs.")] = "runs",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing; use the exit code.")] = False,
) -> None:
    """Check a run against rules; the exit code is the verdict.

    A rule is judged on the worse end of the 95 % interval.

    Exit codes: 0 every rule is met, 1 a rule is missed, 2 wrong use, 3 the run is not done or rows are missing.

    Examples:

    \b
      spar gate last
      spar gate last --rule "robust_accuracy[linf 0.1] >= 0.45"
    """
    from sparring.bench.gate import judge_gate, rules_of
    from sparring.bench.run import Run
    from sparring.cli.summary import judged_line, latest, print_json
    from sparring.core.errors import PlanError

    found = Run.open(latest(out, run))
    rules = list(rule or rules_of(found))
    if not rules:
        raise PlanError('the plan of this run has no gate: add --rule "robust_accuracy >= 0.45", for example')
    judged = judge_gate(found, rules)
    if json:
        print_json(judged)
    elif not quiet:
        for one in judged:
            echo(f"{'met   ' if one['met'] else 'MISSED'}  {one['rule']}  {judged_line(one)}")
    raise typer.Exit(0 if all(one["met"] for one in judged) else 1)
