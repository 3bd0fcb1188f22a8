"""Losses of bounds: lower bounds of logit gaps, and cross-entropy of the worst scores."""

import torch
from torch import Tensor


def rivals(y: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Return rows whose product with scores is the label's logit gap over each other class.

    [n, classes - 1, classes].
    """
    numbers = torch.arange(classes, device=y.device)
    others = numbers.expand(len(y), classes)[numbers != y[:, None]].reshape(len(y), classes - 1)
    unit = torch.eye(classes, dtype=dtype, device=y.device)
    return unit[y][:, None] - unit[others]


def worst_entropy(gaps: Tensor) -> Tensor:
    """Return the mean cross-entropy of scores with these logit gaps of the label.

    gaps: [n, classes - 1].

    Of lower bounds it is an upper bound of the cross-entropy of every input they hold for (Gowal et al. 2018, equation 12).

        >>> round(float(worst_entropy(torch.zeros(1, 9))), 4)  # ten equal scores: log 10
        2.3026
    """
    return torch.logsumexp(torch.cat([gaps.new_zeros(len(gaps), 1), -gaps], 1), 1).mean()
