"""`@verifier` registers a method of the portfolio for networks, and its schedule."""

import inspect
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from torch import Tensor

from sparring.certification.networks.chances import Chance, even
from sparring.certification.networks.state import VerificationState
from sparring.core.registry import ask_tolerantly, register
from sparring.core.signature import check_signature

log = logging.getLogger(__name__)

VerifierRun = Callable[..., None]
"""(state, **settings): improves bounds, proves or refutes; leaves queries that it cannot decide open, with the reason as a note."""

Cost = Callable[[VerificationState, Mapping[str, Any]], Tensor | None]
"""(state, all settings) -> float64 [n]: the estimated number of multiply-adds per open query; None if it cannot be predicted."""


class Estimate(NamedTuple):
    """Hold the expected cost and success of a verifier.

    chance: the share of the open queries that a verifier is expected to settle, in [0, 1]. seconds: what that is expected to take.
    """

    chance: float
    seconds: float


def unforeseen(state: VerificationState, settings: Mapping[str, Any]) -> Tensor | None:
    """Return the cost of a verifier that states none."""
    return None


def nothing(state: VerificationState) -> Tensor | None:
    """Return the cost before the first look at the clock of a verifier that looks at it soon."""
    return None


@dataclass(frozen=True)
class VerifierSchedule:
    """Describe when a verifier runs, and for how long."""

    cost: Cost = unforeseen
    capped: bool = True
    in_groups: bool = False
    after: tuple[str, ...] = ()
    anytime: bool = False
    divides_time: bool = False
    least_cost: Callable[[VerificationState], Tensor | None] = nothing
    share: float = 1.0
    share_before_search: float = 1.0
    as_fast_as: tuple[str, float] | None = None
    chance: Chance = even
    estimate: Callable[[VerificationState], Estimate] | None = None


@dataclass(frozen=True)
class Verifier:
    """Represent a registered method.

    Args:
        run: the method.
        order: of the portfolio, cheap first.
        misfit: why it cannot serve these queries, or an empty string.
        by_default: whether it is run where nobody names verifiers.
        keeps_proofs: whether what it proves comes with a proof where one is wanted.
        efforts: its settings at each named effort at which it is run, see `portfolio.at_effort`; at "thorough" all are run that are by default.
        schedule: when it is asked, and for how long.
    """

    name: str
    run: VerifierRun
    order: int
    misfit: Callable[[VerificationState], str]
    cites: str
    by_default: bool = True
    keeps_proofs: bool = True
    efforts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    schedule: VerifierSchedule = field(default_factory=VerifierSchedule)

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Return its settings and their defaults."""
        return {one.name: one.default for one in list(inspect.signature(self.run).parameters.values())[1:]}

    def fits(self, state: VerificationState) -> bool:
        """Return whether it can serve the open queries."""
        if reason := ask_tolerantly(self, f"the verifier {self.name}", lambda: self.misfit(state), "it fails"):
            log.debug("%s skipped: %s", self.name, reason)
        return not reason

    def run_all(self, state: VerificationState, settings: Mapping[str, Any]) -> None:
        """Run it on all open queries."""
        state.verifier = self.name
        before, began = len(state), time.monotonic()
        ask_tolerantly(self, f"the verifier {self.name}", lambda: self.run(state, **settings), None)
        log.debug("%s settled %d of %d in %.3f s", self.name, before - len(state), before, time.monotonic() - began)

    def run_on(self, state: VerificationState, settings: Mapping[str, Any], chosen: Tensor) -> None:
        """Run it on some of the open queries only, bool [n]."""
        with state.subset(chosen) as part:
            self.run_all(part, settings)

    def cost(self, state: VerificationState, settings: Mapping[str, Any]) -> Tensor | None:
        """Return the approximate multiply-adds per open query with these settings.

        None where that cannot be foreseen, float64 [n].
        """
        return self.schedule.cost(state, {**self.defaults, **settings})


def verifier(
    name: str, *, order: int, cites: str, misfit: Callable[[VerificationState], str] = lambda state: "", by_default: bool = True, keeps_proofs: bool = True,
    efforts: Mapping[str, Mapping[str, Any]] | None = None, schedule: VerifierSchedule | None = None,
) -> Callable[[VerifierRun], Verifier]:  # fmt: skip
    """Register a method of the portfolio; for the arguments see `Verifier`."""

    def enter(run: VerifierRun) -> Verifier:
        check_signature("verifier", run, ("state",))
        made = Verifier(name, run, order, misfit, cites, by_default, keeps_proofs, efforts or {}, schedule or VerifierSchedule())
        register("verifier", name)(made)
        return made

    return enter
