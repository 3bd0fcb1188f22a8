"""A classifier smoothed by noise: it answers with the class that most noisy copies of an input are given."""

import contextlib
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from scipy.special import betainc
from torch import Tensor

from sparring.certification.smoothing.float_sound import GridGaussian
from sparring.certification.smoothing.noise import Gaussian, Noise
from sparring.core.errors import PlanError
from sparring.core.foreign import in_our_words
from sparring.core.rng import Rng
from sparring.core.victim import Graded, Objective, Victim
from sparring.core.wrapped import Wrapped
from sparring.models.wanted import VictimLike, victim_of

PIECE = 250
"""Copies asked about at once. Part of what is computed: rounding may depend on it, so it is the same whatever the batch."""


@dataclass
class Seed:
    """Hold the seed of the session; only this is written to."""

    seed: int = 0


class SmoothedVictim(Wrapped):
    """Represent a smoothed victim (Cohen et al. 2019, arXiv:1902.02918).

    label: PREDICT of the paper: the class of most of `draws` copies, or -1 where a two-sided binomial test at level `alpha` cannot tell the
    first from the second; copies that get no answer are counted as a class of their own. scores: logarithms of the mean of softmax over
    the copies. gradient: of an objective of those scores over `search_draws` copies, which is the attack of SmoothAdv (Salman et al. 2019,
    arXiv:1906.04584) when an attack climbs along it.

    The noise is decided by the seed of the session and the values of the input, so an answer does not depend on the batch it is asked in.
    The search, the confirmation of a success and the verdict on it draw anew, so what was lucky once does not count.
    """

    def __init__(self, inner: Victim, noise: Noise, draws: int = 100, alpha: float = 0.001, search_draws: int = 8):
        super().__init__(inner)
        self.exact, self.slack = False, math.inf
        self.noise, self.alpha, self.search_draws = noise, alpha, search_draws
        self.draws = self.price = draws
        self.state = Seed()

    def scores(self, x: Tensor) -> Tensor:
        return self._mean(x, "scores", self.draws, search=False)

    def search_scores(self, x: Tensor) -> Tensor:
        return self._mean(x, "search", self.search_draws, search=True)

    def answer(self, x: Tensor) -> Tensor:
        return self._predict(x, "label")

    def decide(self, x: Tensor, scores: Tensor) -> Tensor:
        """Return the vote of fresh copies, regardless of the mean softmax."""
        return self._predict(x, "decide")

    def votes(self, x: Tensor, rng: Rng, count: int) -> Tensor:
        """Return the votes of the copies.

        int64 [n, classes + 1]: how many of `count` copies of each input get each class; the last place is "no answer".
        """
        rows = [self._votes_of(x[row : row + 1], rng.take(torch.tensor([row], device=rng.keys.device)), count) for row in range(len(x))]
        return torch.stack(rows) if rows else torch.zeros(0, self.classes + 1, dtype=torch.int64)

    def gradient(self, x: Tensor, objective: Objective) -> Graded:
        """Return the gradient of the mean softmax.

        One pass for the mean of softmax, a second for its gradient, so that any victim that gives gradients will do.
        """
        draws = self.noise.around(x, self._rng(x, "search"), self.search_draws, self.domain)
        copies = draws.points.unbind(1)
        with torch.enable_grad():
            mean = sum(self.inner.search_scores(copy).softmax(1) for copy in copies) / len(copies)
            assert isinstance(mean, Tensor)  # there is at least one copy
            mean = mean.detach().requires_grad_(True)
            scores = _log(mean)
            value = objective(scores)
            gradient = torch.autograd.grad(value.sum(), mean, allow_unused=True)[0] if value.requires_grad else None
        weight = torch.zeros_like(mean) if gradient is None else gradient
        total = torch.zeros_like(x)
        for place, copy in enumerate(copies):
            grad = self.inner.gradient(copy, lambda given: (given.softmax(1) * weight.to(given.dtype)).sum(1)).grad
            total += grad if draws.slope is None else grad * draws.slope[:, place]
        return Graded(scores.detach(), value.detach(), total / len(copies))

    @contextlib.contextmanager
    def session(self, seed: int = 0) -> Iterator[None]:
        before = self.state.seed
        try:
            with self.inner.session(seed):
                self.state.seed = seed
                yield
        finally:
            self.state.seed = before

    @property
    def settings(self) -> dict[str, Any]:
        return {"noise": str(self.noise), "parameters": repr(self.noise), "draws": self.draws, "alpha": self.alpha, "search_draws": self.search_draws}

    def _rng(self, x: Tensor, name: str) -> Rng:
        """One stream a row, named by its values."""
        rows = x.detach().cpu().contiguous().numpy()
        return Rng.of(self.state.seed, [hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest() for row in rows], x.device).draw(name)

    def _mean(self, x: Tensor, name: str, count: int, *, search: bool) -> Tensor:
        ask, rng, rows = self.inner.search_scores if search else self.inner.scores, self._rng(x, name), []
        for row in range(len(x)):
            total = torch.zeros(self.classes, dtype=torch.float64, device=x.device)
            for points in self._copies(x[row : row + 1], rng.take(torch.tensor([row], device=x.device)), count):
                total += ask(points).double().softmax(1).sum(0)
            rows.append(_log(total / count))
        return torch.stack(rows).to(x.dtype) if rows else x.new_zeros(0, self.classes)

    def _predict(self, x: Tensor, name: str) -> Tensor:
        counts = self.votes(x, self._rng(x, name), self.draws)
        first, place = counts.max(1)
        second = counts.scatter(1, place[:, None], -1).amax(1)
        tail = betainc(first.numpy(), second.numpy() + 1, 0.5)  # the chance of `first` or more heads of a fair coin
        sure = torch.from_numpy(2 * tail <= self.alpha)
        return place.where(sure & (place < self.classes), -1).to(x.device)

    def _votes_of(self, x: Tensor, rng: Rng, count: int) -> Tensor:
        total = torch.zeros(self.classes + 1, dtype=torch.int64)
        for points in self._copies(x, rng, count):
            labels = self.inner.label(points).cpu()
            answered = (labels >= 0) & (labels < self.classes)
            total += torch.bincount(labels.where(answered, self.classes), minlength=self.classes + 1)
        return total

    def _copies(self, x: Tensor, rng: Rng, count: int) -> Iterator[Tensor]:
        """The copies of one input [1, ...], in pieces."""
        for piece, start in enumerate(range(0, count, PIECE)):
            yield self.noise.around(x, rng.draw(piece), min(PIECE, count - start), self.domain).points[0]


def _log(shares: Tensor) -> Tensor:
    return shares.clamp_min(torch.finfo(shares.dtype).tiny).log() + 0 * shares  # NaN stays NaN


@in_our_words
def smoothed(
    victim: VictimLike,
    sigma: float = 0.25,
    *,
    noise: Noise | None = None,
    float_sound: bool = False,
    step: float = 1 / 255,
    draws: int = 100,
    alpha: float = 0.001,
    search_draws: int = 8,
) -> SmoothedVictim:
    """Return the victim that answers by a majority of noisy copies (randomised smoothing).

    Args:
        victim: A model of images or tables that was trained on noisy inputs.
        sigma: Standard deviation of Gaussian noise in the units of the input; it certifies L2.
        noise: Another noise instead: `uniform(width)` for L1 or `ablation(keep)` for L0.
        float_sound: Whether to draw Gaussian noise on a grid, so that the certificate holds in floating point; see `GridGaussian`.
        step: Width of that grid, in the units of the input.
        draws: Copies that a prediction costs, at least 1.
        alpha: Level in (0, 1) at which a prediction abstains, which is label -1.
        search_draws: Copies that a gradient or a searched score costs, at least 1.

    Returns:
        The smoothed victim, to attack and to certify.

    Raises:
        PlanError: For inputs that are no numbers, and for settings out of range.

    Example:
        >>> from sparring.models.load import load_model
        >>> smoothed(load_model("zoo:digits-robust"), 0.1).noise
        Gaussian(sigma=0.1)

    Source: Cohen, Rosenfeld, Kolter 2019, arXiv:1902.02918.
    """
    victim = victim_of(victim)
    if getattr(victim.domain, "low", None) is None:
        raise PlanError(f"smoothing adds noise to numbers, but the inputs are {victim.domain}: use images or tables")
    if noise is not None and float_sound:
        raise PlanError(f"float_sound supports Gaussian noise only, got {noise}: leave out one of the two")
    for name, count in (("draws", draws), ("search_draws", search_draws)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise PlanError(f"smoothed({name}={count!r}): give a whole number of at least 1")
    if not 0 < alpha < 1:
        raise PlanError(f"smoothed(alpha={alpha}): give an error probability between 0 and 1")
    chosen = noise or (GridGaussian(sigma, step) if float_sound else Gaussian(sigma))
    return SmoothedVictim(victim, chosen, draws, alpha, search_draws)
