"""Gates: rules on metrics, judged on the end of the interval that is worse for the model."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sparring.bench.run import Run, shortened
from sparring.core.errors import PlanError, RecordError
from sparring.core.expression import parse
from sparring.core.rate import Rate
from sparring.core.registry import find
from sparring.metrics.excess import excess
from sparring.metrics.measures import attacks_of, compared_with, task_of
from sparring.metrics.metric import Metric
from sparring.records.record import aim_of

EXCESS = re.compile(r"excess\s*\((?P<metric>.*)\)")

RULE = re.compile(r"^\s*(?P<metric>\w+\s*(\(([^()]|\([^()]*\))*\))?)\s*(\[(?P<which>[^\]]*)\])?\s*(?P<compare>>=|>|<=|<)\s*(?P<bound>[\d.eE%+-]+)\s*$")


class Rule(NamedTuple):
    """Hold one rule of a gate.

    metric: what is measured, which may be the excess of another over its control. settings: of the metric. which: part of the names of the cases that
    it is about. below: whether the value must not exceed the bound; else it must not fall short of it. bound: in [0, 1] where the metric is a share.
    """

    metric: Metric
    settings: dict[str, Any]
    which: str
    below: bool
    bound: float


def read_rule(text: str) -> Rule:
    """Read a rule.

    Such are `robust_accuracy[linf 0.1] >= 0.45`, `tpr(fpr=0.001) <= 0.01` and `excess(auc) <= 0.05`.

    Raises:
        PlanError: where it cannot be read.
        UnknownName: for a metric that does not exist.
    """
    found = RULE.match(text)
    if found is None:
        raise PlanError(f"cannot read the gate {text!r}: write robust_accuracy >= 0.45, robust_accuracy[linf 0.1] >= 45% or tpr(fpr=0.001) <= 0.01")
    measured = found["metric"].strip()
    beyond = EXCESS.fullmatch(measured)
    expression = parse(beyond["metric"] if beyond else measured)
    if expression.arguments:
        raise PlanError(f"cannot read the gate {text!r}: name the settings of a metric, such as tpr(fpr=0.001)")
    metric: Metric = find("metric", expression.name)
    metric.check(expression.settings)
    metric = excess(metric) if beyond else metric
    written = found["bound"]
    try:
        bound = float(written.removesuffix("%")) / (100 if written.endswith("%") else 1)
    except ValueError as error:
        raise PlanError(f"cannot read the gate {text!r}: {written} is not a number") from error
    if not metric.share and (written.endswith("%") or not math.isfinite(bound)):
        raise PlanError(f"the gate {text!r} asks for {written}: {expression.name} has the unit of the answers, write a number such as 40")
    if metric.share and not 0 <= bound <= 1:
        raise PlanError(f"the gate {text!r} asks for {bound:g}: a rate lies between 0 and 1 (or write 45%)")
    return Rule(metric, expression.settings, (found["which"] or "").strip(), found["compare"].startswith("<"), bound)


def check_gate(rules: Sequence[str], cases: Mapping[str, str], tasks: Mapping[str, str] | None = None) -> None:
    """Refuse rules that cannot be read or match no case, before anything is computed.

    The argument `cases` leads from their names to their aims, `tasks` to the kinds of their answers, where they are known.
    """
    if isinstance(rules, str):
        raise PlanError(f"gate={rules!r}: give a list of rules, [{rules!r}]")
    for written in rules:
        rule = read_rule(written)
        if not any(rule.which in name for name in cases):
            raise PlanError(f"the gate {written!r} matches no case; the cases are {', '.join(cases)}")
        if not any(rule.which in name and aim == rule.metric.aim for name, aim in cases.items()):
            raise PlanError(f"the gate {written!r} uses a metric of {rule.metric.aim}, but the cases are about {', '.join(sorted(set(cases.values())))}")
        if tasks and not any(rule.which in name and rule.metric.fits(cases[name], task) for name, task in tasks.items()):
            raise PlanError(f"the gate {written!r} is for answers of the kind {rule.metric.task}; the models answer {', '.join(sorted(set(tasks.values())))}")


def judge_gate(run: Run, rules: Sequence[str]) -> list[dict[str, Any]]:
    """Return {rule, case, cell, value, low, high, share, met, controls} per rule and case.

    A metric of single attacks is judged on the attack that is worst for the model: `cell` names it, and `controls` holds the value of the metric for
    each control, {cell, value, low, high}. A rule that matches no case is an error.

    Raises:
        RecordError: For a run that is not complete.
    """
    check_complete(run)
    judged = []
    headers = {case["name"]: case for case in run.record.header["cases"]}
    aims = {name: aim_of(case) for name, case in headers.items()}
    tasks = {name: task_of(case) for name, case in headers.items()}
    check_gate(rules, aims, tasks)
    cases = run.cases() if rules else {}
    for written in rules:
        rule = read_rule(written)
        for name, rows in cases.items():
            if rule.which not in name or not rule.metric.fits(aims[name], tasks[name]):
                continue
            controls = compared_with(headers[name])
            found = rule.metric.of_case(rows, attacks_of(headers[name]), controls, **rule.settings)
            said, rate = max(found, key=lambda one: one[1].high) if rule.below else min(found, key=lambda one: one[1].low)
            met = rate.high <= rule.bound if rule.below else rate.low >= rule.bound
            beside = [{"cell": one, **_figures(rule.metric(rows[rows.attack == one], **rule.settings))} for one in controls if rule.metric.per_cell]
            told = {**_figures(rate), "share": rule.metric.share}
            judged.append({"rule": written, "case": name, "cell": said, **told, "met": bool(met and rate.n > 0), "controls": beside})
    return judged


def check_complete(run: Run) -> None:
    """Refuse a run whose rows are not all there, and name what is missing.

    Raises:
        RecordError: Where the run is not done or lacks rows.
    """
    lacking = run.missing()
    if lacking or run.status != "done":
        found = f"the run {run.path} is {run.status} and lacks {shortened(lacking)}" if lacking else f"the run {run.path} is {run.status}, not done"
        raise RecordError(f"{found}: run the same command again, or merge the other shards with spar merge")


def conclude(run: Run, rules: Sequence[str]) -> None:
    """Write into the record whether the rules of a plan are met.

    A run that is not done, such as a shard, is not judged.
    """
    if rules and run.status == "done":
        run.record.header["gate"] = judge_gate(run, rules)
        run.record.save_header()


def rules_of(run: Run) -> list[str]:
    """Return the rules in the plan of a run, or where it holds none those that were judged."""
    planned = (run.record.header.get("plan") or {}).get("gate")
    return list(planned or dict.fromkeys(one["rule"] for one in run.record.header["gate"]))


def _figures(rate: Rate) -> dict[str, float | None]:
    """Return value and ends of a rate; None for what is not finite, as the record holds it."""
    figures = {"value": rate.value, "low": rate.low, "high": rate.high}
    return {name: figure if math.isfinite(figure) else None for name, figure in figures.items()}
