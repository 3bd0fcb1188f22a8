"""The ladder: cheap methods first, each on what the ones before left open, until time or methods run out.

Without a limit of time the order is fixed and the answers depend on no clock. With one, the rung that promises most a second is next, of those that
rest on nothing still to come; searches that would go on for ever get a part of the time as large as their part of the chances.
"""

import copy
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sparring.certify.bounds.interval import Bands, Interval
from sparring.certify.docket import Answer, Docket, Replay
from sparring.certify.outlook import AFTER, ANYTIME, Speed, outlook
from sparring.certify.question import Question
from sparring.certify.rung import Rung
from sparring.certify.work import work as expected_work
from sparring.core.errors import UnknownName
from sparring.core.registry import everything, find

log = logging.getLogger(__name__)

WORK = 2e11
"""Multiply-adds a sample that one rung may take where time is not limited: a minute or so on one core."""
GUARDED = ("zonotope", "crown", "alpha", "relu_split")
IN_GROUPS = ("zonotope", "crown", "alpha")
"""Rungs that look at no clock: where time is limited they are given few samples first, then as many as fit."""
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
    docket = Docket(question, replay, None if seconds is None else time.monotonic() + seconds, proofs, bands, seed)
    if reason := _unfit(question):
        docket.note(reason)
        return docket.close()
    with torch.no_grad():
        if seconds is None:
            _in_order(docket, ladder(rungs), work)
        else:
            _by_outlook(docket, ladder(rungs))
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
        most = float(expected.max())
        docket.note(f"work: {one.name} would take about {most:.1e} multiply-adds a sample, the limit is {limit:.0e}: give seconds, or work=None", dear)
        if not bool(dear.all()):
            _climb_some(docket, one, settings, ~dear)


def _by_outlook(docket: Docket, steps: list[Step]) -> None:
    speed, waiting = Speed(), list(steps)
    while len(docket) and waiting:
        if docket.seconds_left() <= 0:
            docket.note("time: the limit was reached")
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
        if one.name in IN_GROUPS:
            _in_groups(docket, one, settings, speed)
        else:
            others = sum(promised[other.name].chance for other, _ in waiting if other.name in ANYTIME)
            _timed(docket, one, settings, speed, promised[one.name].chance, others)


def _timed(docket: Docket, one: Rung, settings: dict[str, Any], speed: Speed, chance: float, others: float) -> None:
    """A rung that looks at the clock itself, or is cheap. Searches leave the searches to come their share of the time left, at most half."""
    deadline, expected = docket.deadline, expected_work(one.name, docket, {**one.defaults, **settings}) if one.name not in ANYTIME else None
    if one.name in ANYTIME and deadline is not None and others > 0:
        docket.deadline = deadline - docket.seconds_left() * min(0.5, others / max(chance + others, 1e-9))
    began = time.monotonic()
    _climb(docket, one, settings)
    docket.deadline = deadline
    if expected is not None:
        speed.learn(one.name, float(expected.sum()), time.monotonic() - began)


def _in_groups(docket: Docket, one: Rung, settings: dict[str, Any], speed: Speed) -> None:
    """Samples of the docket a few at a time, the first alone, so that the time they take is known before the many are begun."""
    left, size = docket.places.clone(), 1
    while len(left):
        here = torch.isin(docket.places, left)
        expected = expected_work(one.name, docket, {**one.defaults, **settings})
        if expected is None or not bool(here.any()):
            return
        seconds = expected / speed.of(one.name)
        cheapest = torch.where(here, seconds, torch.inf).argsort()[: int(here.sum())]
        fitting = int((seconds[cheapest].cumsum(0) <= GROUP * docket.seconds_left()).sum())
        if not fitting and float(seconds[cheapest[0]]) <= docket.seconds_left():
            fitting = 1
        if not fitting:
            more = float(seconds[here].sum())
            docket.note(f"time: {one.name} would take about {more:.3g} s more for {int(here.sum())}, {max(0.0, docket.seconds_left()):.3g} s were left", here)
            return
        chosen = cheapest[: min(size, fitting)]
        mine = torch.zeros_like(here).index_fill(0, chosen, True)
        left = left[~torch.isin(left, docket.places[mine])]
        multiply_adds, began = float(expected[mine].sum()), time.monotonic()
        _climb_some(docket, one, settings, mine)
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
    if bool(rows.all()):
        _climb(docket, one, settings)
        return
    part, chosen = copy.copy(docket), rows.nonzero().squeeze(1)  # answers and reasons are shared
    part.question, part.places, part.lower = docket.question.take(chosen), docket.places[chosen], docket.lower[chosen]
    part.bounds = {place: bound.take(chosen) for place, bound in docket.bounds.items()}
    _climb(part, one, settings)
    still = torch.isin(docket.places[chosen], part.places)
    docket.lower[chosen[still]] = part.lower
    for place, bound in part.bounds.items():
        if place in docket.bounds:
            low, high = (edge.clone() for edge in docket.bounds[place])
            low[chosen[still]], high[chosen[still]] = bound
            docket.bounds[place] = Interval(low, high)
    settled = torch.zeros_like(rows).index_fill(0, chosen[~still], True)
    keep = (~settled).nonzero().squeeze(1)
    docket.question, docket.places, docket.lower = docket.question.take(keep), docket.places[keep], docket.lower[keep]
    docket.bounds = {place: bound.take(keep) for place, bound in docket.bounds.items()}


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
