"""Verdict: one sentence per case, the gate, and the trust in the result."""

from sparring.core.rate import Rate
from sparring.report.gates import gate
from sparring.report.lights import trust
from sparring.report.markup import Markup, join, listing, markup
from sparring.report.section import section
from sparring.report.view import CaseView, View
from sparring.report.wording import changes, count, interval, percent, samples, wish

MEANING = {
    "reliable": "All checks passed.",
    "caution": "Some checks raise doubts.",
    "unreliable": "A check failed: the model may be weaker than these numbers suggest.",
}

ALWAYS = "Attacks can only show weakness. A stronger attack may break samples that held; only a certificate rules this out."
PROVED = "Samples that are neither proved nor broken are undecided: a longer search may prove or break them."


@section(order=10, title="Verdict")
def verdict(view: View) -> Markup:
    """State the result in plain words."""
    if not view.cases:
        return markup("<p>This run has no cases.</p>")
    cards = join(_card(view, case) for case in view.cases)
    many = "many" if len(view.cases) > 2 else ""
    return markup('{gate}<div class="verdicts {many}">{cards}</div>{caveats}', gate=gate(view), many=many, cards=cards, caveats=_caveats(view))


def _card(view: View, case: CaseView) -> Markup:
    name = markup('<p class="eyebrow">{name}</p>', name=case.name) if len(view.cases) > 1 else ""
    judged = trust(view, (case,))
    badge = markup('<p class="badge {word}"><strong>{word}</strong> {meaning}</p>', word=judged.word, meaning=MEANING[judged.word])
    return markup(
        '<article class="verdict">{name}<p class="said">{said}</p>{shares}{badge}</article>', name=name, said=_sentence(case), shares=_shares(case), badge=badge
    )


def _sentence(case: CaseView) -> Markup:
    model = case.model.get("name", "the model")
    if not len(case.outcomes):
        return markup("<em>{model}</em> has not been evaluated on any sample yet.", model=model)
    clean, robust = case.clean, case.robust
    begin = markup(
        "<em>{model}</em> gets <strong>{clean}</strong> of {samples} from <em>{data}</em> right.",
        model=model, clean=percent(clean.value), samples=samples(clean.n, case.domain_kind), data=case.data.get("name", "the data"),
    )  # fmt: skip
    if not case.attacks:
        return markup("{begin} No attack has been run yet, so nothing is known about its robustness.", begin=begin)
    wanted = f" (goal: {said})" if (said := wish(case.threat)) else ""
    return markup(
        "{begin} When {changes}{wanted}, <strong>{stay}</strong> stay right ({level} interval {interval}){proved}.",
        begin=begin, proved=_proved(case), changes=changes(case.threat, case.domain_kind), wanted=wanted, interval=interval(robust), level=percent(0.95, 0),
        stay="none" if robust.value == 0 else f"no more than {percent(robust.value)}",
    )  # fmt: skip


def _proved(case: CaseView) -> Markup:
    """The lower end of the band, as the end of the sentence."""
    if case.contradictions:
        return markup("; <strong>an attack contradicts a certificate, so these results are invalid</strong>")
    if case.certified is None:
        return Markup("")
    if case.certified.value == 0:
        return markup("; nothing is proved")
    return markup("; for <strong>{share}</strong> it is proved ({interval})", share=percent(case.certified.value), interval=interval(case.certified))


def _shares(case: CaseView) -> Markup:
    """One bar: proved to stay right, stays right, broken by attacks, wrong anyway."""
    if not len(case.outcomes) or not case.attacks:
        return Markup("")
    clean, robust = case.clean, case.robust
    certified = 0.0 if case.certified is None else case.certified.value
    parts = [
        *([("proved", "proved", certified)] if case.certified is not None else []),
        ("held", "held, not proved" if case.certified is not None else "stay right", robust.value - certified),
        ("broken", "broken by attacks", clean.value - robust.value),
        ("wrong", "wrong without attack", 1 - clean.value),
    ]
    bars = join(markup('<span class="{kind}" style="flex-grow:{share}"></span>', kind=kind, share=round(share, 4)) for kind, _, share in parts if share > 0)
    words = join(
        markup('<li><span class="swatch" style="background:var(--plot-{kind})"></span><b>{share}</b> {text}</li>', kind=kind, share=percent(share), text=text)
        for kind, text, share in parts
    )
    return markup('<div class="shares" aria-hidden="true">{bars}</div><ul class="key">{words}</ul>', bars=bars, words=words)


def _caveats(view: View) -> Markup:
    reasons = [*_state(view), *trust(view).reasons, *_single(view), PROVED if any(case.certified is not None for case in view.cases) else ALWAYS]
    return markup("<h3>Limitations of these numbers</h3>{list}", list=listing(reasons, "caveats"))


def _state(view: View) -> list[str]:
    status = view.header.get("status")
    return [] if status in ("done", None) else [f"The run is {status}: only samples that every attack of their case has judged are counted."]


def _single(view: View) -> list[str]:
    """Too few attacks, or too few samples, to say much."""
    single = [case.name for case in view.cases if len(case.planned) == 1]
    wide = [case.robust for case in view.cases if case.attacks and len(case.outcomes) if case.robust.high - case.robust.low > 0.2]
    return [
        *([f"Only one attack was run in {count(len(single), 'case')}; another may break more."] if single else []),
        *([_few(max(wide, key=lambda rate: rate.high - rate.low))] if wide else []),
    ]


def _few(rate: Rate) -> str:
    return f"With {count(rate.n, 'sample')} the interval is {100 * (rate.high - rate.low):.0f} points wide: evaluate more samples before comparing models."
