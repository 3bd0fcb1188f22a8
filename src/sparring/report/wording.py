"""Numbers and threats in words; percentages occur only here, for display."""

import math
from collections.abc import Sequence
from typing import Any

from sparring.core.rate import Rate

SPACE = "\N{NO-BREAK SPACE}"
DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"

NOUNS = {"image": ("image", "images"), "table": ("row", "rows"), "text": ("text", "texts")}

PLAIN = {
    ("linf", "image"): "every pixel value may move by at most {radius}",
    ("linf", ""): "every number of the input may move by at most {radius}",
    ("l2", ""): "the whole change may have a Euclidean length of at most {radius}",
    ("l1", ""): "all changes together may add up to at most {radius}",
    ("words", ""): "at most {share} of the words of a text may be replaced by listed substitutes",
    ("rules", ""): "columns may change within their rules, at a total cost of at most {radius}",
}

ACCESS = {
    "gradients": "White box: the adversary knows the model and can use its gradients.",
    "scores": "Black box with scores: the adversary can query the score of every class.",
    "labels": "Black box with labels: the adversary sees the predicted class and nothing else.",
}


def percent(share: float, digits: int = 1) -> str:
    """Return a share in [0, 1] as percentage; a dash if there is none."""
    return DASH if math.isnan(share) else f"{100 * share:.{digits}f}{SPACE}%"


def interval(rate: Rate) -> str:
    """Return the ends of the interval of a rate."""
    return DASH if rate.n == 0 else f"{100 * rate.low:.1f}{SPACE}{DASH}{SPACE}{100 * rate.high:.1f}{SPACE}%"


def number(value: Any, digits: int = 4) -> str:
    """Return a number in short form; anything else unchanged; a dash for nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return DASH
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}g}"


def count(many: int, one: str, more: str | None = None) -> str:
    """Return a count in words: 1 sample, 1,000 samples."""
    return f"{many:,}{SPACE}{one if many == 1 else more or one + 's'}"


def samples(many: int, domain_kind: str) -> str:
    """Return a count of samples by their domain: 1 image, 20 rows, 300 samples."""
    return count(many, *NOUNS.get(domain_kind, ("sample", "samples")))


def duration(seconds: float) -> str:
    """Return seconds in the unit that fits."""
    if seconds < 100:
        return f"{seconds:.3g}{SPACE}s"
    minutes = round(seconds / 60)
    return f"{minutes}{SPACE}min" if minutes < 100 else f"{minutes // 60}{SPACE}h {minutes % 60}{SPACE}min"


def short(values: Sequence[str], most: int = 3) -> str:
    """Return the first few, and how many more."""
    return ", ".join(values[:most]) + (f" and {len(values) - most} more" if len(values) > most else "")


def radius_of(threat: dict[str, Any]) -> float | None:
    """Return the radius, where it is one number for all samples."""
    radius = threat.get("space", {}).get("radius")
    return float(radius) if isinstance(radius, int | float) else None


def changes(threat: dict[str, Any], domain_kind: str, radii: Sequence[float] = ()) -> str:
    """Return the allowed changes as a clause that follows "when".

    radii: others than that of the threat, if given.
    """
    kind, radius = threat.get("space", {}).get("kind", ""), radius_of(threat)
    template = PLAIN.get((kind, domain_kind)) or PLAIN.get((kind, ""))
    if template is None:
        return f"the adversary may make {threat.get('say') or threat.get('say_short') or kind}"
    if radius is None:
        return template.format(radius="an amount given per sample", share="a share given per sample")
    several = radii or [radius]
    return template.format(radius=either([f"{one:g}" for one in several]), share=either([percent(one, 0) for one in several]))


def either(words: Sequence[str]) -> str:
    """Return alternatives in words: a, b or c."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


WORDS_OF_A_GOAL = ("kind", "wish", "sentence", "mistake", "usual")
"""What a record holds of every goal; the rest are its settings."""


def goal(threat: dict[str, Any]) -> str:
    """Say what the adversary wants, in the words of the goal.

    Older records, which hold no sentence, show its name and settings.
    """
    described = threat.get("goal", {})
    if "sentence" not in described:
        return goal_written(described) or "not stated"
    mistake = f" An answer counts as wrong if {described['mistake']}." if described.get("usual") and described.get("mistake") else ""
    return f"{described['sentence']}{mistake}"


def wish(threat: dict[str, Any]) -> str:
    """Return what the adversary wants in a few words; nothing where any wrong answer will do."""
    described = threat.get("goal", {})
    written = goal_written(described)
    usual = described.get("usual", " " not in written)  # a goal without settings, in older records, which hold no sentence
    return "" if usual else str(described.get("wish", written))


def goal_written(described: dict[str, Any]) -> str:
    """Return a goal as a plan writes it: "targeted 3"."""
    settings = (value for name, value in described.items() if name not in WORDS_OF_A_GOAL)
    return " ".join([str(described.get("kind", "")), *("one per sample" if isinstance(one, list) else str(one) for one in settings)])
