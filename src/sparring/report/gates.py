"""The gate of a run as a box: each rule, the value, the end of the interval that decided, and the controls."""

from typing import Any

from sparring.report.markup import Markup, listing, markup
from sparring.report.view import View
from sparring.report.wording import number, percent


def gate(view: View) -> Markup:
    """Return the rules about the cases of a view; empty if there are none."""
    hidden = {str(case["name"]) for case in view.header.get("cases", [])} - {case.name for case in view.cases}
    rules = [rule for rule in view.header.get("gate") or [] if rule.get("case") not in hidden]
    if not rules:
        return Markup("")
    kind, word = ("ok", "Gate met") if all(rule.get("met") for rule in rules) else ("bad", "Gate missed")
    lines = listing((_rule(rule, named=len(view.cases) > 1) for rule in rules), "plain")
    return markup('<div class="gate {kind}"><p class="gate-word">{word}</p>{lines}</div>', kind=kind, word=word, lines=lines)


def _rule(rule: dict[str, Any], *, named: bool) -> Markup:
    kind, word = ("ok", "met") if rule.get("met") else ("bad", "missed")
    above = "<" in str(rule.get("rule", ""))
    controls = ", ".join(f"{one.get('cell')} {_measured(rule, one.get('value'))}" for one in rule.get("controls") or [])
    return markup(
        '<span class="mark {kind}">{word}</span> <code>{rule}</code> {case} <span class="quiet">measured {value}{cell}, judged on the {which} end {end}'
        "{beside}</span>",
        kind=kind, word=word, rule=rule.get("rule", ""), case=rule.get("case", "") if named else "", value=_measured(rule, rule.get("value")),
        cell=f" ({rule['cell']})" if rule.get("cell") else "", which="upper" if above else "lower", end=_measured(rule, rule.get("high" if above else "low")),
        beside=f"; control: {controls}" if above and controls else "",
    )  # fmt: skip


def _measured(rule: dict[str, Any], value: object) -> str:
    """A number of a rule: a share in percent, anything else in its own unit."""
    return percent(value) if isinstance(value, float) and rule.get("share", True) else number(value)
