"""Expectation over transformation: a randomised victim answers by the mean of many draws."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from scipy.stats import norm
from torch import Tensor, nn

from sparring.core.domain import Batch
from sparring.core.errors import PlanError
from sparring.core.victim import Graded, Objective, Victim
from sparring.models.adapter import digest


class Vote(NamedTuple):
    """label: int64 [n], the class of most draws. share: float64 [n], of the draws that gave it. low, high: float64 [n],
    ends of the Wilson interval of the share."""

    label: Tensor
    share: Tensor
    low: Tensor
    high: Tensor


@dataclass
class Passes:
    """Passes of the inner model, one a sample and draw; the only thing here that is written to."""

    forwards: int = 0
    backwards: int = 0


class EotVictim(Victim):
    """A randomised model whose scores and gradients are means over `draws` fresh draws (Athalye et al. 2018, arXiv:1802.00420,
    section 4.3; arXiv:1707.07397), and whose label is the class of most of them.

    A search sees the means; each of its successes is put to a majority of fresh draws, so a point that was
    lucky once does not count. The judge decides by majority too.

    Where we differ: the gradient is the mean of the gradients of the loss, not the gradient of the loss of the mean.
    Draws come from the global generators, set by the session, so with a model that draws one number a call or
    sample, an answer also depends on what was asked before.
    """

    exact = False
    slack = math.inf

    def __init__(self, inner: Victim, draws: int = 20):
        if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
            raise PlanError(f"eot(draws={draws!r}): give a whole number of at least 1")
        self.inner = inner
        self.draws = self.price = draws
        self.name, self.domain, self.classes, self.exposes = inner.name, inner.domain, inner.classes, inner.exposes
        self.device = getattr(inner, "device", torch.device("cpu"))
        self.passes = Passes()

    @property
    def module(self) -> nn.Module | None:
        """The user's own module, where the inner victim is one."""
        return getattr(self.inner, "module", None)

    def scores(self, x: Batch) -> Tensor:
        self._meter(x, 0)
        return sum_of(self.inner.scores(x) for _ in range(self.draws)) / self.draws

    def search_scores(self, x: Batch) -> Tensor:
        self._meter(x, 0)
        return sum_of(self.inner.search_scores(x) for _ in range(self.draws)) / self.draws

    def label(self, x: Batch) -> Tensor:
        return self.vote(x).label

    def decide(self, x: Batch, scores: Tensor) -> Tensor:
        """The class of most fresh draws, whatever the mean of the scores says."""
        return self.vote(x).label

    def vote(self, x: Batch, *, confidence: float = 0.95) -> Vote:
        """What most of `draws` fresh draws say about each input, and how sure that is."""
        self._meter(x, 0)
        counts: Tensor | None = None
        for _ in range(self.draws):
            one = nn.functional.one_hot(self.inner.label(x) + 1, self.classes + 1)  # the first place is "no answer"
            counts = one if counts is None else counts + one
        assert counts is not None  # draws >= 1
        most, place = counts.max(1)
        share = most.double() / self.draws
        return Vote(place - 1, share, *wilson(share, self.draws, confidence))

    def gradient(self, x: Tensor, objective: Objective) -> Graded:
        self._meter(x, 1)
        return _mean([self.inner.gradient(x, objective) for _ in range(self.draws)])

    def gradients(self, x: Tensor, classes: Tensor) -> Graded:
        self._meter(x, classes.shape[1])
        return _mean([self.inner.gradients(x, classes) for _ in range(self.draws)])

    @contextlib.contextmanager
    def session(self, seed: int = 0) -> Iterator[None]:
        with self.inner.session(seed):
            yield

    @property
    def fingerprint(self) -> str:
        return digest(self.inner.fingerprint, f"eot {self.draws}")

    def describe(self) -> dict[str, Any]:
        return {**self.inner.describe(), **super().describe(), "draws": self.draws, "inner": type(self.inner).__name__}

    def _meter(self, x: Batch, backwards: int) -> None:
        self.passes.forwards += len(x) * self.draws
        self.passes.backwards += len(x) * self.draws * backwards


def wilson(share: Tensor, n: int, confidence: float = 0.95) -> tuple[Tensor, Tensor]:
    """The ends of the Wilson interval of shares of n trials, float64 like `share`."""
    z = float(norm.ppf((1 + confidence) / 2))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)).sqrt()
    return (middle - reach).clamp_min(0), (middle + reach).clamp_max(1)


def sum_of(parts: Iterator[Tensor]) -> Tensor:
    """The sum of at least one tensor, in order."""
    total = next(parts)
    for part in parts:
        total = total + part
    return total


def _mean(answers: list[Graded]) -> Graded:
    return Graded(*(sum_of(iter(parts)) / len(answers) for parts in zip(*answers, strict=True)))


def eot(victim: Victim, draws: int = 20) -> EotVictim:
    """The same victim asked by the mean of `draws` fresh draws: for models that answer at random.

    Scores and gradients are means, labels a majority; `vote(x)` gives the majority with its Wilson interval and
    `passes` counts what the inner model was asked, one pass a draw.

    >>> from sparring.models.load import load_model
    >>> eot(load_model("zoo:digits-plain"), draws=5).draws
    5
    """
    if not isinstance(victim, Victim):
        raise PlanError(f"eot takes a Victim, got {type(victim).__name__}: wrap the model first, sp.victim(model, domain)")
    return EotVictim(victim, draws)
