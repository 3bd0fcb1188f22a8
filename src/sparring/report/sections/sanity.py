"""Sanity: one light per check for masked gradients and other faults, with its evidence."""

from sparring.report.lights import Light, lights, trust
from sparring.report.markup import Markup, by_case, join, markup
from sparring.report.section import section
from sparring.report.view import View
from sparring.report.wording import DASH, number

MARKS = {"ok": "✓", "caution": "!", "bad": "✕", "not applicable": DASH}
KINDS = {"reliable": "ok", "caution": "caution", "unreliable": "bad"}
WORDS = {"ok": "in order", "caution": "caution", "bad": "failed", "not applicable": "not applicable"}


@section(order=70, title="Sanity")
def sanity(view: View) -> Markup | None:
    """Show the self-checks of each case as lights."""
    if not view.cases:
        return None
    lead = markup("<p>A model can look robust only because the attacks fail. These checks look for signs of that.</p>")
    parts = []
    for case in view.cases:
        word = trust(view, (case,)).word
        heading = markup('{name} <span class="mark {kind}">{word}</span>', name=case.name, kind=KINDS[word], word=word)
        parts.append((heading, markup('<ul class="lights">{items}</ul>', items=join(_light(one) for one in lights(case)))))
    return lead + by_case(parts)


def _light(light: Light) -> Markup:
    kind = light.verdict if light.verdict in MARKS else "caution"
    cure = markup('<p class="cure"><b>What to do:</b> {cure}</p>', cure=light.cure) if light.cure and kind in ("caution", "bad") else ""
    return markup(
        '<li class="light {tone}"><span class="lamp" aria-hidden="true">{mark}</span><div><p class="light-title"><b>{title}</b> '
        '<span class="unseen">{word}</span><span class="code">{code}</span></p><p>{finding}</p>{cure}</div>{value}</li>',
        tone=kind.replace(" ", "-"), mark=MARKS[kind], title=light.title, word=WORDS[kind], code=light.code,
        finding=light.finding, cure=cure, value=_value(light),
    )  # fmt: skip


def _value(light: Light) -> Markup:
    if light.value is None:
        return Markup("")
    limit = markup(" <span>threshold {limit}</span>", limit=number(light.threshold)) if light.threshold is not None else ""
    return markup('<p class="light-value">{value}{limit}</p>', value=number(light.value), limit=limit)
