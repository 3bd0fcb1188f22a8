"""A loss of classes on answers of several parts, each of which is a choice between classes: pixels, labels."""

import torch
from torch import Tensor

from sparring.core.problem import Loss
from sparring.tasks.classes import ClassCriterion


def over_right_parts(scores: Tensor, truth: Tensor, right: Tensor, of_classes: Loss, fallen: float) -> Tensor:
    """Return the mean of a loss of classes over the parts that count, [n].

    Only right parts have a gradient.

    Args:
        scores: Float [n, ..., C], the scores of the classes of each part.
        truth: Int64 [n, ...], the true class of each part, negative where a part does not count.
        right: Bool [n, ...], which parts count and are right.
        of_classes: The loss.
        fallen: The value of wrong parts, the highest that a right one can have.
    """
    rows = right.nonzero()[:, 0]
    values = of_classes(scores[right], ClassCriterion.leaving(truth[right]))
    total = torch.zeros(len(scores), dtype=scores.dtype, device=scores.device).index_add(0, rows, values)
    many = (truth >= 0).flatten(1).sum(1)
    return (total + fallen * (many - right.flatten(1).sum(1))) / many.clamp_min(1)
