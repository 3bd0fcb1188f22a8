"""The portfolio: the verifiers with their settings, cheap ones first."""

from collections.abc import Mapping, Sequence
from typing import Any

from sparring.certification.networks.verifier import Verifier
from sparring.core.errors import PlanError, UnknownName
from sparring.core.registry import everything, find

EFFORTS = ("bounds", "quick", "thorough")
"""Limits of "bounds" and "quick" are numbers of steps, so that their answers depend on no clock; "thorough" attacks first and goes on until the time is up.
Of "quick", `relu_split` splits only samples whose bound lacks at most half of the margin at the middle: on the digits networks at radii 0.05 to 0.2 a hundred
domains proved none that lacked more than 0.4 of it."""

Step = tuple[Verifier, dict[str, Any]]


def at_effort(effort: str) -> dict[str, dict[str, Any]]:
    """Return the settings of the verifiers at an effort.

    Settings by verifier at an effort, one of `EFFORTS`, as the verifiers state them; "thorough" is all that are run by default, as they are.
    """
    if effort not in EFFORTS:
        raise PlanError(f"effort={effort!r}: choose {', '.join(EFFORTS)}")
    verifiers = everything("verifier")
    if effort == "thorough":
        return {name: {} for name, one in verifiers.items() if one.by_default}
    return {name: dict(one.efforts[effort]) for name, one in verifiers.items() if effort in one.efforts}


def portfolio(written: Mapping[str, Mapping[str, Any]] | Sequence[str] | None = None) -> list[Step]:
    """Return verifiers with their settings, in the order of the portfolio.

    written: names, or settings by name; None for all that are there by default, with their defaults.
    """
    by_default = [name for name, one in everything("verifier").items() if one.by_default] if written is None else written
    chosen = written if isinstance(written, Mapping) else {name: {} for name in by_default}
    found: list[Step] = []
    for name, settings in chosen.items():
        one: Verifier = find("verifier", name)
        for setting in settings:
            if setting not in one.defaults:
                raise UnknownName(f"setting of {name}", setting, one.defaults)
        found.append((one, dict(settings)))
    return sorted(found, key=lambda pair: pair[0].order)
