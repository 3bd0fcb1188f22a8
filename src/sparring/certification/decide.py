"""The ladder: cheap methods first, each on what the ones before left open, until time or methods run out.

Without a limit of time the order is fixed and the answers depend on no clock. With one, the rung that promises most a second is next, of those that
rest on nothing still to come; searches that would go on for ever get a part of the time as large as their part of the chances.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sparring.certification.bounds.interval import Bands
from sparring.certification.docket import Answer, Docket, Replay
from sparring.certification.outlook import AFTER, ANYTIME, Speed, outlook
from sparring.certification.question import Question
from sparring.certification.rung import Rung
from sparring.certification.work import least_work
from sparring.certification.work import work as expected_work
from sparring.core.errors import UnknownName
from sparring.core.registry import everything, find

log = logging.getLogger(__name__)

WORK = 2e11
"""Multiply-adds a sample that one rung may take where time is not limited: a minute or so on one core."""
GUARDED = ("zonotope", "crown", "alpha", "relu_split")
IN_GROUPS = ("attack", "zonotope", "crown", "alpha")
"""Rungs that look at no clock: where time is limited they are given few samples first, then as many as fit."""
SLICED = ("relu_split", "milp")
"""Searches whose part of the time is cut off here; `input_split` divides its time itself."""
ENDING = 0.7
"""Of the time there is, what such a rung is told it has: what it does last it does not watch."""
GROUP = 0.25
"""Of the time left that one group may be expected to take."""

Step = tuple[Rung, dict[str, Any]]


def ladder(written: Mapping[str, Mapping[str, Any]] | Sequence[str] | None = None) -> list[Step]:
    """Rungs with their settings, in the order of the ladder. written: names, or settings by name; None for all that are there by default, as they are."""
    by_default = [name for name, one in everything("rung").items() if one.by_default] if written is None else written
    chosen = written if isinstance(written, Mapping) else {name: {} for name in by_default}
    found: list[Step] = []
    for name, settings in chosen.items():
        one: Rung = find("rung", name)
        for setting in settings:
            if setting not in one.defaults:
                raise UnknownName(f"setting of {name}", setting, one.defaults)
        found.append((one, dict(settings)))
    return sorted(found, key=lambda pair: pair[0].order)


def decide(
    question: Question, *, seconds: float | None = None, rungs: Mapping[str, Mapping[str, Any]] | Sequence[str] | None = None, replay: Replay | None = None,
    proofs: bool = False, bands: Bands | None = None, seed: int = 0, work: float | None = WORK,
) -> list[Answer]:  # fmt: skip
    """Answers to all questions, in their order.

    seconds: for all of them together. rungs: see `ladder`. replay: confirms witnesses on the model as it is deployed; without it float64
    decides. proofs: keep what a proof file is made of. bands: see `bounds.execution`. seed: of random starting points. work: multiply-adds a
    sample above which a rung is left out where `seconds` is None; None for no limit.
    """
    steps = ladder(rungs)  # before the clock starts, as this imports them
    docket = Docket(question, replay, None if seconds is None else time.monotonic() + seconds, proofs, bands, seed)
    if reason := _unfit(question):
        docket.note(reason)
        return docket.close()
    with torch.no_grad():
        if seconds is None:
            _in_order(docket, steps, work)
        else:
            _by_outlook(docket, steps)
        _what_more(docket, {one.name for one, _ in steps})
    return docket.close()


def _in_order(docket: Docket, steps: list[Step], limit: float | None) -> None:
    for one, settings in steps:
        if not len(docket):
            return
        if not _fits(one, docket):
            continue
        expected = expected_work(one.name, docket, {**one.defaults, **settings}) if one.name in GUARDED else None
        if limit is None or expected is None or bool((expected <= limit).all()):
            _climb(docket, one, settings)
            continue
        dear = expected > limit
        _price(docket, f"work: {one.name} would take about {{:.1e}} multiply-adds, the limit is {limit:.0e}: give seconds, or work=None", expected, dear)
        if not bool(dear.all()):
            _climb_some(docket, one, settings, ~dear)


def _by_outlook(docket: Docket, steps: list[Step]) -> None:
    speed, waiting = Speed(), list(steps)
    while len(docket) and waiting:
        if docket.seconds_left() <= 0:
            docket.note(f"time: the limit was reached before {', '.join(one.name for one, _ in waiting)}", _not_yet(docket, "time"))
            return
        waiting = [step for step in waiting if _fits(step[0], docket)]
        names = {one.name for one, _ in waiting}
        ready = [step for step in waiting if not names & set(AFTER.get(step[0].name, ()))]
        if not ready:
            return
        promised = {one.name: outlook(one, settings, docket, speed) for one, settings in waiting}
        step = max(ready, key=lambda step: promised[step[0].name].chance / max(promised[step[0].name].seconds, 1e-9))
        waiting.remove(step)
        one, settings = step
        log.debug("%s is next: %s", one.name, promised[one.name])
        others = sum(promised[other.name].chance for other, _ in waiting if other.name in ANYTIME)
        if one.name in IN_GROUPS:
            _in_groups(
                docket, one, settings, speed, docket.seconds_left() / 2 if waiting and (one.name == "attack" or (one.name == "alpha" and others > 0)) else 0.0
            )
        else:
            _timed(docket, one, settings, speed, promised[one.name].chance, others)


def _timed(docket: Docket, one: Rung, settings: dict[str, Any], speed: Speed, chance: float, others: float) -> None:
    """A rung that looks at the clock itself, or is cheap. Searches over signs leave the searches to come their share of the time left, at most half."""
    deadline, expected = docket.deadline, expected_work(one.name, docket, {**one.defaults, **settings}) if one.name not in ANYTIME else None
    if one.name in SLICED and deadline is not None and others > 0:
        docket.deadline = deadline - docket.seconds_left() * min(0.5, others / max(chance + others, 1e-9))
    began, rows = time.monotonic(), _begun_in_time(docket, one, speed)
    if bool(rows.any()):
        _climb_some(docket, one, settings, rows)
    docket.deadline = deadline
    if expected is not None:
        speed.learn(one.name, float(expected.sum()), time.monotonic() - began)


def _begun_in_time(docket: Docket, one: Rung, speed: Speed) -> Tensor:
    """bool [n]: the questions, those with the best bounds first, whose searches will look at the clock in a quarter of the time there is."""
    least = least_work(one.name, docket)
    if least is None:
        return torch.ones(len(docket), dtype=torch.bool, device=docket.places.device)
    order, seconds = docket.margin.argsort(descending=True), least / speed.of(one.name)
    fitting = order[seconds[order].cumsum(0) <= docket.seconds_left() / 4]
    rows = torch.zeros(len(docket), dtype=torch.bool, device=docket.places.device).index_fill(0, fitting, True)
    if not bool(rows.all()):
        more = float(seconds[~rows].sum())
        docket.note(
            f"time: {one.name} would take {more:.3g} s to begin with the {int((~rows).sum())} samples left, {docket.seconds_left():.3g} s were left", ~rows
        )
    return rows


def _in_groups(docket: Docket, one: Rung, settings: dict[str, Any], speed: Speed, reserve: float) -> None:
    """Samples of the docket a few at a time, the first alone, so that the time they take is known before the many are begun. reserve: seconds
    to be left to others."""
    todo, size = docket.places.clone(), 1
    while True:
        here, expected = torch.isin(docket.places, todo), expected_work(one.name, docket, {**one.defaults, **settings})
        if expected is None or not bool(here.any()):
            return
        seconds, room = expected / speed.of(one.name), docket.seconds_left() - reserve
        cheapest = torch.where(here, seconds, torch.inf).argsort()[: int(here.sum())]
        fitting = int((seconds[cheapest].cumsum(0) <= GROUP * room).sum()) or int(float(seconds[cheapest[0]]) <= room)
        if not fitting:
            more = float(seconds[here].sum())
            docket.note(f"time: {one.name} would take about {more:.3g} s more for {int(here.sum())} samples, {max(0.0, room):.3g} s were left for it", here)
            return
        mine = torch.zeros_like(here).index_fill(0, cheapest[: min(size, fitting)], True)
        todo = todo[~torch.isin(todo, docket.places[mine])]
        multiply_adds, began, deadline = float(expected[mine].sum()), time.monotonic(), docket.deadline
        docket.deadline = began + ENDING * room
        _climb_some(docket, one, settings, mine)
        docket.deadline = deadline
        speed.learn(one.name, multiply_adds, time.monotonic() - began)
        size *= 8


def _fits(one: Rung, docket: Docket) -> bool:
    if reason := one.misfit(docket):
        log.debug("%s left out: %s", one.name, reason)
    return not reason


def _climb(docket: Docket, one: Rung, settings: Mapping[str, Any]) -> None:
    docket.rung = one.name
    before, began = len(docket), time.monotonic()
    one.climb(docket, **settings)
    log.debug("%s settled %d of %d in %.3f s", one.name, before - len(docket), before, time.monotonic() - began)


def _climb_some(docket: Docket, one: Rung, settings: Mapping[str, Any], rows: Tensor) -> None:
    """Climb with some of the open questions only, bool [n]."""
    with docket.apart(rows) as part:
        _climb(part, one, settings)


def _what_more(docket: Docket, asked: set[str]) -> None:
    """Tell those that nobody has given a reason what the next bound would cost."""
    silent = _not_yet(docket)
    name = next((one for one in ("crown", "alpha") if one not in asked), None)
    if name is None or not bool(silent.any()):
        return
    expected = expected_work(name, docket, find("rung", name).defaults)
    if expected is not None:
        _price(docket, f"bounds: no method that was tried is tight enough; {name} would take about {{:.1e}} multiply-adds", expected, silent)


def _not_yet(docket: Docket, *kinds: str) -> Tensor:
    """bool [n]: questions without a reason so far, or without one of these kinds."""
    reasons = [docket.reasons[place] for place in docket.places.tolist()]
    return torch.tensor([not any(one.startswith(kind) for kind in kinds) if kinds else not one for one in reasons], dtype=torch.bool)


def _price(docket: Docket, reason: str, expected: Tensor, rows: Tensor) -> None:
    """Note a reason for each of these questions, bool [n], with what is expected of it alone."""
    for row in rows.nonzero().squeeze(1).tolist():
        only = torch.zeros(len(docket), dtype=torch.bool, device=docket.places.device)
        only[row] = True
        docket.note(reason.format(float(expected[row])), only)


def _unfit(question: Question) -> str:
    """Why nothing can be said about these questions, or an empty string."""
    inputs = question.inputs
    if not bool(torch.isfinite(inputs.low).all() & torch.isfinite(inputs.high).all()):
        return "input: the input set has no bounds on every number"
    if bool((inputs.low > inputs.high).any()):
        return "input: lower bounds above upper ones, so the input set is empty"
    if not question.network.finite:
        return "numerics: the network holds numbers that are not finite"
    return ""
