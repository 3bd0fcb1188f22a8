"""spar doctor: check a model before a long evaluation."""

from typing import Annotated

import typer

from sparring.cli.completion import complete_models, complete_plan
from sparring.cli.terminal import Terminal
from sparring.cli.words import read_words


def command(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            help="The model: zoo:NAME, package.module:factory, FILE.onnx, FILE.skops or FILE.pt2.",
            autocompletion=complete_models,
        ),
    ],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[key=value ...]",
            help="Keys of a plan: data=..., weights=... and others.",
            show_default=False,
            autocompletion=complete_plan,
        ),
    ] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Also run the checks D10 to D26, which attack at the radius of threat=....")] = False,
    remedies: Annotated[bool, typer.Option("--remedies", help="Run all checks, and try the attacks of an adaptive adversary.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing; use the exit code.")] = False,
) -> None:
    """Check a model for properties that mislead an evaluation.

    Exit codes: 0 no check is bad, 1 a check is bad, 2 wrong use.

    Examples:

    \b
      spar doctor zoo:digits-plain data=digits
      spar doctor zoo:digits-plain data=digits threat="linf 0.1" --remedies
    """
    from sparring.bench.plan import Plan
    from sparring.core.errors import PlanError

    stray, changes = read_words([*(words or []), *context.args])
    if stray:
        raise PlanError(f"cannot read {stray!r}: write key=value")
    plan = Plan.of({"model": model, **changes})
    if plan.data is None:
        raise PlanError("doctor needs samples: add data=digits or data=FILE")
    if (deep or remedies) and len(plan.threat) != 1:
        raise PlanError('--deep and --remedies attack the model, so they need one threat: add threat="linf 0.1", for example')

    from rich.table import Table
    from rich.text import Text

    from sparring.bench.api import reevaluate
    from sparring.cli.summary import print_json
    from sparring.core.threat import Threat
    from sparring.data.load import load
    from sparring.diagnosis.doctor import examine, trust
    from sparring.models.load import load_model
    from sparring.threats.balls import Linf
    from sparring.threats.goals import Untargeted

    if deep or remedies:
        case = plan.evasion_cases()[0]
        victim, data, threat = case.victim, case.data, case.threat
    else:
        data = load(plan.data, split=plan.split, take=plan.take or 64, target=plan.target, deployed=plan.deployed, task=plan.task)
        victim = load_model(model, data, weights=plan.weights, settings=plan.of_models())
        threat = Threat(Linf(0.0), Untargeted())
    look = reevaluate(victim, data, threat, seed=plan.seed) if remedies else None
    findings = list(look.findings) if look else examine(victim, data, threat, deep=deep, seed=plan.seed)
    word = look.verdict if look else trust(findings)
    if json:
        more = {"reevaluation": {name: value for name, value in look.describe().items() if name != "checks"}} if look else {}
        print_json({"model": victim.describe(), "data": data.describe(), "trust": word, "checks": [one.describe() for one in findings], **more})
    elif not quiet:
        console = Terminal()
        console.print(f"{victim.name}: {victim.domain}; exposes {', '.join(sorted(victim.exposes))}; answers {victim.task}")
        table = Table(box=None, pad_edge=False, show_header=False)
        for one in findings:
            table.add_row(one.code, one.title, one.verdict, one.finding + (f" {one.cure}" if one.verdict in ("bad", "caution") else ""))
        console.print(table)
        if look:
            console.print(Text(str(look)))
        console.print(f"trust in an evaluation of this model: {word}")
    raise typer.Exit(1 if any(one.verdict == "bad" for one in findings) else 0)
