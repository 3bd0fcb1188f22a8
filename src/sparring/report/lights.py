"""The trust in the numbers: checks from the record, checks on the rows, and one verdict."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from sparring.report.view import CaseView, View
from sparring.report.wording import count, percent, samples, short

"""The attack that tries random points only; real attacks must do better."""

UNCHECKED = "No check of the model was made or is applicable, so masked gradients would go unnoticed."

GRAVITY = {"not applicable": 0, "ok": 1, "caution": 2, "bad": 3}


@dataclass(frozen=True)
class Light:
    """Represent one check.

    verdict: ok, caution, bad or not applicable. finding, cure: sentences.
    """

    code: str
    title: str
    verdict: str
    finding: str
    cure: str = ""
    value: Any = None
    threshold: Any = None


class Trust(NamedTuple):
    """Hold the trust in a result: reliable, caution or unreliable, with the reasons."""

    word: str
    reasons: list[str]


def lights(case: CaseView) -> list[Light]:
    """Return the recorded checks of a case, then those of its rows."""
    recorded = [
        Light(
            str(check.get("code", "")), str(check.get("title") or check.get("name", "")), str(check.get("verdict", "not applicable")),
            str(check.get("finding") or ""), str(check.get("cure") or ""), check.get("value"), check.get("threshold"),
        )
        for check in case.checks
    ]  # fmt: skip
    found = (_control(case), _errors(case), _infeasible(case), _complete(case), _bounded(case))
    return recorded + [light for light in found if light]


def trust(view: View, cases: tuple[CaseView, ...] | None = None) -> Trust:
    """Return one word for the run, or for some of its cases: the worst light decides."""
    chosen = view.cases if cases is None else cases
    found: dict[str, list[str]] = {}
    worst = 2 if not chosen else 0
    for case in chosen:
        shown = lights(case)
        checked = any(check.get("verdict") != "not applicable" for check in case.checks)
        worst = max([worst, *(GRAVITY.get(light.verdict, 2) for light in shown), 0 if checked else 2])
        for reason in [light.finding or light.title for light in shown if GRAVITY.get(light.verdict, 2) >= 2] + ([] if checked else [UNCHECKED]):
            found.setdefault(reason, []).append(case.name)
    reasons = [f"{reason} ({short(names, 2)})" if len(chosen) > 1 else reason for reason, names in found.items()]
    return Trust({3: "unreliable", 2: "caution"}.get(worst, "reliable"), reasons)


def _control(case: CaseView) -> Light | None:
    """Random points must not do better than a search."""
    controls = set(case.controls)
    others = [attack for attack in (*case.certifiers, *case.attacks) if attack not in controls]
    if not controls or not others:
        return None
    broken = case.judged[case.judged.status == "broken"]
    found, noticed = (set(broken[broken.attack.isin(names)]["id"]) for names in (others, list(controls)))
    late, by_search, by_control = len(noticed - found), len(found), len(noticed)
    cure = "Look at the gradients of the model, give the attacks more steps and restarts, or add an attack that needs no gradients."
    if late:
        finding = f"Random noise broke {samples(late, case.domain_kind)} that the attacks had not broken."
        return Light("R1", "Random noise loses to a search", "bad" if late > 0.01 * len(case.outcomes) else "caution", finding, cure, late)
    finding = f"Random noise broke {by_control:,}, the attacks {by_search:,} including these."
    return Light("R1", "Random noise loses to a search", "ok", finding)


def _errors(case: CaseView) -> Light | None:
    bad = int((case.table.status == "error").sum()) if len(case.table) else 0
    if not len(case.table):
        return None
    if not bad:
        return Light("R2", "Every attack ended with a verdict", "ok", "No attack failed and the model always answered.")
    share = bad / max(1, int((case.table.status != "skipped").sum()))
    finding = f"{count(bad, 'verdict')} ({percent(share)}) could not be determined; these samples count against the model."
    return Light(
        "R2",
        "Every attack ended with a verdict",
        "bad" if share > 0.01 else "caution",
        finding,
        "See the notes under Trouble, fix the cause and run the same command again.",
        bad,
    )


def _infeasible(case: CaseView) -> Light | None:
    if not case.attacks:
        return None
    bad = int((case.table.status == "infeasible").sum())
    if not bad:
        return Light("R3", "Every success was an allowed point", "ok", "No attack reached its goal with a point that the threat forbids.")
    finding = f"{count(bad, 'point')} reached the goal but left the threat; they were not counted, so the model may look better than it is."
    return Light(
        "R3", "Every success was an allowed point", "caution", finding, "Use an attack that stays inside this threat, or report the attack as faulty.", bad
    )


def _complete(case: CaseView) -> Light | None:
    if not case.cells:
        return None
    waiting = [attack for attack in case.planned if attack not in case.attacks]
    if not case.missing and not waiting:
        return Light("R4", "Every sample met every attack", "ok", f"All {samples(int(case.data.get('n', 0)), case.domain_kind)} are judged.")
    parts = [f"{samples(case.missing, case.domain_kind)} of {case.data.get('n', 0):,} are not judged yet"] if case.missing else []
    parts += [f"{count(len(waiting), 'attack')} did not start"] if waiting else []
    return Light(
        "R4",
        "Every sample met every attack",
        "caution",
        f"{' and '.join(parts)}.",
        "Run the same command again: it continues where it stopped.",
        case.missing or None,
    )


def _bounded(case: CaseView) -> Light | None:
    """A threat that allows every input measures nothing; there is no light for one that does not."""
    if not case.threat.get("boundless"):
        return None
    finding = "The threat allows any input, however different, so robust accuracy says nothing about small changes."
    return Light("R5", "The threat allows some inputs only", "caution", finding, "Give a smaller radius, such as 8/255 for images in [0, 1].")
