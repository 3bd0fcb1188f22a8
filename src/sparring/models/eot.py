"""Expectation over transformation (EOT): a randomised victim answers with the mean of many draws."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sparring.core.domain import Batch
from sparring.core.errors import PlanError
from sparring.core.foreign import in_our_words
from sparring.core.rate import wilson
from sparring.core.victim import Graded, Objective, Victim
from sparring.core.wrapped import Wrapped
from sparring.models.wanted import VictimLike, victim_of
from sparring.tasks.classes import Classes


class Vote(NamedTuple):
    """Hold the majority of draws per sample.

    label: int64 [n], the class of most draws. share: float64 [n], of the draws that gave it. low, high: float64 [n],
    ends of the Wilson interval of the share.
    """

    label: Tensor
    share: Tensor
    low: Tensor
    high: Tensor


@dataclass
class Passes:
    """Count the passes of the inner model, one per sample and draw; only this is written to."""

    forwards: int = 0
    backwards: int = 0


class EotVictim(Wrapped):
    """Represent a randomised model by means over `draws` fresh draws and their majority.

    Scores and gradients are the means (Athalye et al. 2018, arXiv:1802.00420, section 4.3; arXiv:1707.07397).

    A search sees the means; each of its successes is put to a majority of fresh draws, so a point that was
    lucky once does not count. The judge decides by majority too.

    Where we differ: the gradient is the mean of the gradients of the loss, not the gradient of the loss of the mean.
    Draws come from the global generators, set by the session, so with a model that draws one number a call or
    sample, an answer also depends on what was asked before.
    """

    def __init__(self, inner: Victim, draws: int = 20):
        if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
            raise PlanError(f"eot got draws={draws!r}: give a whole number of at least 1")
        super().__init__(inner)
        self.exact, self.slack = False, math.inf
        self.draws = self.price = draws
        self.passes = Passes()

    @property
    def module(self) -> nn.Module | None:
        """Return the user's own module, where the inner victim is one."""
        return getattr(self.inner, "module", None)

    def scores(self, x: Batch) -> Tensor:
        self._meter(x, 0)
        return sum_of(self.inner.scores(x) for _ in range(self.draws)) / self.draws

    def search_scores(self, x: Batch) -> Tensor:
        self._meter(x, 0)
        return sum_of(self.inner.search_scores(x) for _ in range(self.draws)) / self.draws

    def answer(self, x: Batch) -> Tensor:
        """Return the majority class of fresh draws.

        Of tasks other than classes the answer to their mean scores.
        """
        return self.vote(x).label if isinstance(self.task, Classes) else super().answer(x)

    def decide(self, x: Batch, scores: Tensor) -> Tensor:
        """Return the majority class of fresh draws, regardless of the mean scores."""
        return self.answer(x)

    def vote(self, x: Batch, *, confidence: float = 0.95) -> Vote:
        """Return the majority of `draws` fresh draws per input, with its Wilson interval."""
        self._meter(x, 0)
        counts: Tensor | None = None
        for _ in range(self.draws):
            one = nn.functional.one_hot(self.inner.answer(x) + 1, self.classes + 1)  # the first place is "no answer"
            counts = one if counts is None else counts + one
        assert counts is not None  # draws >= 1
        most, place = counts.max(1)
        ends = wilson(most.cpu().numpy(), self.draws, confidence)
        return Vote(place - 1, most.double() / self.draws, *(torch.from_numpy(one).to(most.device) for one in ends))

    def gradient(self, x: Tensor, objective: Objective) -> Graded:
        self._meter(x, 1)
        return _mean([self.inner.gradient(x, objective) for _ in range(self.draws)])

    def gradients(self, x: Tensor, several: Objective) -> Graded:
        found = _mean([self.inner.gradients(x, several) for _ in range(self.draws)])
        self._meter(x, found.value.shape[1])
        return found

    @property
    def settings(self) -> dict[str, Any]:
        return {"draws": self.draws}

    def _meter(self, x: Batch, backwards: int) -> None:
        self.passes.forwards += len(x) * self.draws
        self.passes.backwards += len(x) * self.draws * backwards


def sum_of(parts: Iterator[Tensor]) -> Tensor:
    """Return the sum of at least one tensor, in order."""
    total = next(parts)
    for part in parts:
        total = total + part
    return total


def _mean(answers: list[Graded]) -> Graded:
    return Graded(*(sum_of(iter(parts)) / len(answers) for parts in zip(*answers, strict=True)))


@in_our_words
def eot(victim: VictimLike, draws: int = 20) -> EotVictim:
    """Return the victim averaged over fresh draws, for models that answer at random (EOT).

    Scores and gradients are means, labels a majority; `vote(x)` gives the majority with its Wilson interval and
    `passes` counts the passes of the inner model, one per draw.

    Args:
        victim: A model that answers at random.
        draws: How many fresh draws each answer takes.

    Returns:
        The victim to attack and to judge.

    Raises:
        PlanError: For draws that are no whole number of at least 1.

    Example:
        >>> from sparring.models.load import load_model
        >>> eot(load_model("zoo:digits-plain"), draws=5).draws
        5
    """
    return EotVictim(victim_of(victim), draws)
