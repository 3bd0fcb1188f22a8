"""Sequential sampling until the radius is decided, with a valid bound at every look."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from sparring.certification.smoothing.confidence import sequence_lower

FIRST = 50
"""Copies before the first look."""

GROWTH = 1.25
"""By how much the number of copies grows from look to look: any looks are allowed, and more of them cost calls of the model."""


class Look(NamedTuple):
    """Hold the result of the draws so far.

    hits of draws fell on the class. low, high: bounds on the probability of the class and of any other one. late: time ended first.
    """

    hits: int
    draws: int
    low: float
    high: float
    late: bool = False


def looks(
    hits_of: Callable[[int, int], int],
    most: int,
    alpha: float,
    enough: Callable[[float], bool],
    deadline: float = math.inf,
) -> Look:
    """Draw copies until the bound on a probability is `enough`, cannot be, or `most` are drawn.

    hits_of: (turn, count) -> how many of `count` fresh copies are hits. The bounds are those of `sequence_lower`, which hold at all looks at
    once, so neither the looks nor the reason to end can make the lower bound false more often than alpha; giving up for want of
    hope or time says nothing that could be false. Horvath et al. 2022 (arXiv:2106.06946) divide alpha over a fixed schedule of looks instead.
    deadline: in seconds of `time.monotonic`.

    >>> import random
    >>> luck = random.Random(0)
    >>> look = looks(lambda turn, count: sum(luck.random() < 0.99 for _ in range(count)), 100_000, 0.001, lambda low: low > 0.8)
    >>> look.draws < 1000, look.low > 0.8
    (True, True)
    """
    hits, draws, low, high, turn = 0, 0, 0.0, 1.0, 0
    while draws < most:
        if time.monotonic() >= deadline:
            return Look(hits, draws, low, 1 - low, True)
        count = min(max(FIRST, math.ceil(draws * (GROWTH - 1))), most - draws)
        hits, draws, turn = hits + hits_of(turn, count), draws + count, turn + 1
        low = max(low, sequence_lower(hits, draws, alpha))
        high = min(high, 1 - sequence_lower(draws - hits, draws, alpha))
        if enough(low) or not enough(high):
            break
    return Look(hits, draws, low, 1 - low)
