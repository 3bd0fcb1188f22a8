"""Chooses the ReLU to split: candidates by relaxation error, then by bounding both halves.

Filtered smart branching, De Palma et al. 2021, arXiv:2104.06718, with k candidates a score (k-FSB); scores after Bunel et al. 2020, arXiv:1909.06588 (BaBSR).
Measured on the networks of mnist_fc, the first score alone needs half the domains of k-FSB at slopes that are not optimised anew, so that is the default.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class BranchingInputs(NamedTuple):
    """Hold the inputs of the choice of a split.

    At the best slopes of k domains, [k, u] each. slope: of the bound at what a ReLU gives. going_in: what goes in when the point where the bound is reached
    is sent along the lines.
    """

    slope: Tensor
    going_in: Tensor


def scores(low: Tensor, high: Tensor, lower_slope: Tensor, reading: BranchingInputs) -> list[Tensor]:
    """Return two scores [k, u], larger where a split should help more, -inf for closed signs.

    First what the chord of the upper line adds at 0, the term of BaBSR that does not cancel; then what the lines lose at the point where the bound is
    reached: the least that either half gains if the point stays.
    """
    open_ = (low < 0) & (high > 0)
    low, high, lower_slope = low.to(reading.slope.dtype), high.to(reading.slope.dtype), lower_slope.to(reading.slope.dtype)
    g, z = reading
    steep = high / (high - low).clamp_min(1e-12)
    chord = g.clamp_max(0) * low * steep
    line = torch.where(g >= 0, lower_slope * z, steep * (z - low))
    lost = g * (z.relu() - line)
    # If no upper line is in use, a lower one may still be loose: less than any chord, and more if g is larger.
    below = g.clamp_min(0) * torch.minimum(-low, high)
    chord = torch.where(g < 0, chord, -1 / (1 + below))
    return [torch.where(open_, one, -torch.inf) for one in (chord, lost)]


def candidates(found: list[Tensor], most: int) -> Tensor:
    """Return the best columns of every score.

    A domain with fewer open ones has some twice, int64 [k, c].
    """
    picked = []
    for score in found:
        value, column = score.topk(min(most, score.shape[1]), dim=1)
        picked.append(torch.where(torch.isfinite(value), column, column[:, :1]))
    return torch.cat(picked, 1)


def favoured(halves: Tensor, stop: Tensor) -> Tensor:
    """Return the candidate whose worse half is best, then whose better half is, int64 [k].

    The candidates have bounds [k, c, 2] of both halves.
    """
    reached = torch.minimum(halves, stop[:, None, None])
    return (reached.amin(2) + 0.1 * reached.amax(2)).argmax(1)
