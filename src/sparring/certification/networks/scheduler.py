"""Chooses the next verifier under a time limit: the one with the best estimate per second.

Searches without an end get a share of the time in proportion to their chance.
"""

import logging
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from sparring.certification.networks.portfolio import Step
from sparring.certification.networks.state import VerificationState
from sparring.certification.networks.verifier import Estimate, Verifier

log = logging.getLogger(__name__)

ENDING = 0.7
"""Share of the available time that is granted to a verifier that does not check the clock, because its last step may overrun."""
GROUP = 0.25
"""Share of the remaining time that one group may be expected to take."""


@lru_cache(maxsize=1)
def machine_speed() -> float:
    """Return a first estimate of multiply-adds per second in float64.

    It is a quarter of what a product of matrices reaches.
    """
    one = torch.ones(256, 256, dtype=torch.float64)
    began = time.perf_counter()
    torch.mm(one, one)
    return 256**3 / max(time.perf_counter() - began, 1e-4) / 4


class Speed:
    """Hold the measured multiply-adds per second of each verifier."""

    def __init__(self) -> None:
        self.known: dict[str, float] = {}

    def of(self, one: Verifier) -> float:
        """Return the speed of a verifier; before its first run, that of the one it names.

        Without one it is that of products of matrices.
        """
        name, times = one.schedule.as_fast_as or ("", 1.0)
        return self.known.get(one.name, times * self.known.get(name, machine_speed()))

    def learn(self, one: Verifier, multiply_adds: float, seconds: float) -> None:
        """Store the last measurement.

        Earlier ones are dropped, as groups grow, and larger ones are asked next.
        """
        if multiply_adds > 0 and seconds > 0:
            self.known[one.name] = multiply_adds / seconds


def estimate(one: Verifier, settings: Mapping[str, Any], state: VerificationState, speed: Speed) -> Estimate:
    """Return the estimate of a verifier for the open queries."""
    if one.schedule.estimate is not None:
        return one.schedule.estimate(state)
    expected = None if one.schedule.anytime else one.cost(state, settings)
    seconds = state.seconds_left() if expected is None else float(expected.sum()) / speed.of(one)
    return Estimate(float(one.schedule.chance(state).mean()), seconds)


def run_by_estimate(state: VerificationState, steps: list[Step]) -> None:
    """Run the verifiers until queries, verifiers or the time of the state run out."""
    speed, waiting = Speed(), list(steps)
    while len(state) and waiting:
        if state.seconds_left() <= 0:
            state.note(f"time: the limit was reached before {', '.join(one.name for one, _ in waiting)}", state.without_reason("time"))
            return
        waiting = [step for step in waiting if step[0].fits(state)]
        names = {one.name for one, _ in waiting}
        ready = [step for step in waiting if not names & set(step[0].schedule.after)]
        if not ready:
            return
        promised = {one.name: estimate(one, settings, state, speed) for one, settings in waiting}
        step = max(ready, key=lambda step: promised[step[0].name].chance / max(promised[step[0].name].seconds, 1e-9))
        waiting.remove(step)
        one, settings = step
        log.debug("next verifier: %s (%s)", one.name, promised[one.name])
        others = sum(promised[other.name].chance for other, _ in waiting if other.schedule.anytime)
        if one.schedule.in_groups:
            share = min(one.schedule.share if waiting else 1.0, one.schedule.share_before_search if others > 0 else 1.0)
            _in_groups(state, one, settings, speed, state.seconds_left() * (1 - share))
        else:
            _timed(state, one, settings, speed, promised[one.name].chance, others)


def _timed(state: VerificationState, one: Verifier, settings: dict[str, Any], speed: Speed, chance: float, others: float) -> None:
    """A verifier that looks at the clock itself, or is cheap. Anytime verifiers leave the searches to come their share of the time left, at most half."""
    deadline, expected = state.deadline, None if one.schedule.anytime else one.cost(state, settings)
    if one.schedule.anytime and not one.schedule.divides_time and deadline is not None and others > 0:
        state.deadline = deadline - state.seconds_left() * min(0.5, others / max(chance + others, 1e-9))
    began, rows = time.monotonic(), _begun_in_time(state, one, speed)
    if bool(rows.any()):
        one.run_on(state, settings, rows)
    state.deadline = deadline
    if expected is not None:
        speed.learn(one, float(expected.sum()), time.monotonic() - began)


def _begun_in_time(state: VerificationState, one: Verifier, speed: Speed) -> Tensor:
    """bool [n]: the queries, those with the best bounds first, whose searches will look at the clock in a quarter of the time there is."""
    least = one.schedule.least_cost(state)
    if least is None:
        return torch.ones(len(state), dtype=torch.bool, device=state.places.device)
    order, seconds = state.margin.argsort(descending=True), least / speed.of(one)
    fitting = order[seconds[order].cumsum(0) <= state.seconds_left() / 4]
    rows = torch.zeros(len(state), dtype=torch.bool, device=state.places.device).index_fill(0, fitting, True)
    if not bool(rows.all()):
        more = float(seconds[~rows].sum())
        state.note(
            f"time: {one.name} would need {more:.3g} s to start on the {int((~rows).sum())} remaining samples, {state.seconds_left():.3g} s were left", ~rows
        )
    return rows


def _in_groups(state: VerificationState, one: Verifier, settings: dict[str, Any], speed: Speed, reserve: float) -> None:
    """Samples of the state a few at a time, the first alone, so that the time they take is known before the many are begun. reserve: seconds
    to be left to others."""
    todo, size = state.places.clone(), 1
    while True:
        here, expected = torch.isin(state.places, todo), one.cost(state, settings)
        if not bool(here.any()):
            return
        if expected is None:
            one.run_on(state, settings, here)
            return
        seconds, room = expected / speed.of(one), state.seconds_left() - reserve
        cheapest = torch.where(here, seconds, torch.inf).argsort()[: int(here.sum())]
        fitting = int((seconds[cheapest].cumsum(0) <= GROUP * room).sum()) or int(float(seconds[cheapest[0]]) <= room)
        if not fitting:
            more = float(seconds[here].sum())
            state.note(f"time: {one.name} would need about {more:.3g} s more for {int(here.sum())} samples, {max(0.0, room):.3g} s were left for it", here)
            return
        mine = torch.zeros_like(here).index_fill(0, cheapest[: min(size, fitting)], True)
        todo = todo[~torch.isin(todo, state.places[mine])]
        multiply_adds, began, deadline = float(expected[mine].sum()), time.monotonic(), state.deadline
        state.deadline = began + ENDING * room
        one.run_on(state, settings, mine)
        state.deadline = deadline
        speed.learn(one, multiply_adds, time.monotonic() - began)
        size *= 8
