"""The search for the constant that weighs success against size, for each row separately (Carlini, Wagner 2017, section VI-B)."""

from typing import NamedTuple

import torch
from torch import Tensor


class Constant(NamedTuple):
    """Hold the state of the search for the constant.

    value: float64 [m], the weight of the goal now. low, high: the largest that failed and the smallest that succeeded so far.
    age: int64 [m], steps with this value. hit: bool [m], did one of them meet the goal? best: least loss of these steps;
    since: steps since it was lowered.
    """

    value: Tensor
    low: Tensor
    high: Tensor
    age: Tensor
    hit: Tensor
    best: Tensor
    since: Tensor

    @classmethod
    def of(cls, value: Tensor) -> "Constant":
        """Return a search that begins at this value (float64 [m])."""
        zeros, never = torch.zeros_like(value), torch.full_like(value, torch.inf)
        return cls(value, zeros, never, zeros.long(), zeros.bool(), never, zeros.long())


class Turn(NamedTuple):
    """Hold the outcome of one step of the search for the constant.

    constant: after the step. anew: bool [m], rows that begin again with another value.
    """

    constant: Constant
    anew: Tensor


def turn(old: Constant, hit: Tensor, loss: Tensor, *, most: int, patience: int, growth: float = 4.0) -> Turn:
    """Update the search for the constant after a step with this outcome.

    A value is left after `most` steps, or once the loss (float64 [m]) was not
    lowered by a thousandth for `patience` steps. After a success the middle below is tried, else the middle above, or `growth`
    times the value where nothing has succeeded yet.
    """
    lowered = loss < old.best * (1 - 1e-3 * old.best.sign())
    age, hits = old.age + 1, old.hit | hit
    best, since = torch.where(lowered, loss, old.best), torch.where(lowered, 0, old.since + 1)
    anew = (age >= most) | (since >= patience)
    low = torch.where(anew & ~hits, torch.maximum(old.low, old.value), old.low)
    high = torch.where(anew & hits, torch.minimum(old.high, old.value), old.high)
    middle = torch.where(low > 0, (low * high.clamp_max(1e300)).sqrt(), high / growth)
    value = torch.where(anew, torch.where(high.isinf(), old.value * growth, middle), old.value)
    fresh = Constant.of(value)
    kept = Constant(value, low, high, age, hits, best, since)
    chosen = (torch.where(anew, new, now) for new, now in zip(fresh[3:], kept[3:], strict=True))
    return Turn(Constant(value, low, high, *chosen), anew)
