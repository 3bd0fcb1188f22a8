"""Losses that gradient attacks maximise on masks: the losses of classes, pixel by pixel.

Each is a mean over the pixels that count. Only pixels that are still correct have a gradient, as in the masked losses of SEA (Croce, Singh, Hein 2024,
arXiv:2306.12941), so no step is spent on wrong pixels. A wrong pixel has the highest value that a correct one can have, so the loss increases with
every pixel that becomes wrong, and two points can be compared.
"""

import math

from torch import Tensor

from sparring.attacks.losses import cross_entropy, difference_of_logits_ratio, loss, margin, probability_margin, scaled_cross_entropy
from sparring.attacks.part_losses import over_right_parts
from sparring.core.problem import Loss
from sparring.tasks.mask import MaskCriterion, pixel_gaps


def by_pixel(scores: Tensor, criterion: MaskCriterion, of_classes: Loss, fallen: float) -> Tensor:
    """Return the mean of a loss of classes over the pixels that count, [n].

    Wrong pixels have the value `fallen`.
    """
    right = criterion.counted & (pixel_gaps(scores.detach(), criterion.truth) > 0)
    return over_right_parts(scores.movedim(1, -1), criterion.truth, right, of_classes, fallen)


@loss("ce", MaskCriterion)
def mask_cross_entropy(scores: Tensor, criterion: MaskCriterion) -> Tensor:
    """Return cross-entropy over pixels.

    A wrong pixel has the logarithm of the number of classes, the maximum for a correct pixel.
    """
    return by_pixel(scores, criterion, cross_entropy, math.log(scores.shape[1]))


@loss("pixel_margin", MaskCriterion)
def pixel_margin(scores: Tensor, criterion: MaskCriterion) -> Tensor:
    """Return the mean over pixels of the best other logit minus that of the true class.

    It is 0 for a wrong pixel; for masks only.
    """
    return by_pixel(scores, criterion, margin, 0.0)


@loss("pm", MaskCriterion)
def mask_probability_margin(scores: Tensor, criterion: MaskCriterion) -> Tensor:
    """Return the margin in probabilities, pixel by pixel."""
    return by_pixel(scores, criterion, probability_margin, 0.0)


@loss("dlr", MaskCriterion)
def mask_difference_of_logits_ratio(scores: Tensor, criterion: MaskCriterion) -> Tensor:
    """Return the difference of logits ratio, pixel by pixel."""
    return by_pixel(scores, criterion, difference_of_logits_ratio, 0.0)


@loss("mifpe", MaskCriterion)
def mask_scaled_cross_entropy(scores: Tensor, criterion: MaskCriterion) -> Tensor:
    """Return the mean margin, with the gradient of cross-entropy at a scale per pixel."""
    return by_pixel(scores, criterion, scaled_cross_entropy, 0.0)
