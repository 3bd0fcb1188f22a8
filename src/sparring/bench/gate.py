"""Gates: rules on rates, judged on the lower end of the interval."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from sparring.bench.run import Run
from sparring.core.errors import PlanError, UnknownName
from sparring.metrics.band import certified_accuracy
from sparring.metrics.outcome import clean_accuracy, robust_accuracy

METRICS = {"clean_accuracy": clean_accuracy, "robust_accuracy": robust_accuracy, "certified_accuracy": certified_accuracy}
RULE = re.compile(r"^\s*(?P<metric>\w+)\s*(\[(?P<which>[^\]]*)\])?\s*(?P<compare>>=|>)\s*(?P<bound>[\d.eE%+-]+)\s*$")


def read_rule(text: str) -> tuple[str, str, float]:
    """(metric, part of the case names it is about, bound) of `robust_accuracy[linf 0.1] >= 0.45`."""
    found = RULE.match(text)
    if found is None:
        raise PlanError(f"cannot read the gate {text!r}: write robust_accuracy >= 0.45 or robust_accuracy[linf 0.1] >= 45%")
    if found["metric"] not in METRICS:
        raise UnknownName("metric", found["metric"], METRICS)
    written = found["bound"]
    try:
        bound = float(written.removesuffix("%")) / (100 if written.endswith("%") else 1)
    except ValueError as error:
        raise PlanError(f"cannot read the gate {text!r}: {written} is not a number") from error
    if not 0 <= bound <= 1:
        raise PlanError(f"the gate {text!r} asks for {bound:g}: a rate lies between 0 and 1 (or write 45%)")
    return found["metric"], (found["which"] or "").strip(), bound


def check_gate(rules: Sequence[str], cases: Iterable[str]) -> None:
    """Refuse rules that cannot be read or are about no case, before anything is computed. cases: their names."""
    names = list(cases)
    if isinstance(rules, str):
        raise PlanError(f"gate={rules!r}: give a list of rules, [{rules!r}]")
    for rule in rules:
        _, which, _ = read_rule(rule)
        if not any(which in name for name in names):
            raise PlanError(f"the gate {rule!r} is about no case: they are {', '.join(names)}")


def judge_gate(run: Run, rules: list[str]) -> list[dict[str, Any]]:
    """For every rule and case it is about: {rule, case, value, low, met}. A rule about no case is an error."""
    judged = []
    cases = run.cases() if rules else {}
    check_gate(rules, cases)
    for rule in rules:
        metric, which, bound = read_rule(rule)
        for name, case in cases.items():
            if which not in name:
                continue
            rate = METRICS[metric](case)
            judged.append({"rule": rule, "case": name, "value": rate.value, "low": rate.low, "met": bool(rate.low >= bound and rate.n > 0)})
    return judged
