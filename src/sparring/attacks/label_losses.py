"""Losses that gradient attacks maximise on sets of labels: the losses of two classes, label by label.

Each is a mean over the labels that count. Only labels that are still right have a gradient, as for the pixels of masks, so no step is spent on wrong
labels. A wrong label has the highest value that a right one can have, so the loss increases with every label that becomes wrong, and two points can be
compared. "margin" is the score gap of the label that decides whether the answer is wrong.
"""

import math

import torch
from torch import Tensor

from sparring.attacks.losses import cross_entropy, difference_of_logits_ratio, loss, probability_margin, scaled_cross_entropy
from sparring.attacks.part_losses import over_right_parts
from sparring.core.problem import Loss
from sparring.tasks.labels import LabelsCriterion


def by_label(scores: Tensor, criterion: LabelsCriterion, of_classes: Loss, fallen: float) -> Tensor:
    """Return the mean of a loss of two classes over the labels that count, [n].

    The score of "present" stands against 0. Wrong labels have the value `fallen`.
    """
    choices = torch.stack([torch.zeros_like(scores), scores], -1)
    return over_right_parts(choices, criterion.truth, criterion.gaps(scores.detach()) > 0, of_classes, fallen)


@loss("ce", LabelsCriterion)
def binary_cross_entropy(scores: Tensor, criterion: LabelsCriterion) -> Tensor:
    """Return the binary cross-entropy, label by label.

    A wrong label has the logarithm of 2, the maximum for a right label.
    """
    return by_label(scores, criterion, cross_entropy, math.log(2))


@loss("pm", LabelsCriterion)
def label_probability_margin(scores: Tensor, criterion: LabelsCriterion) -> Tensor:
    """Return the margin in probabilities, label by label."""
    return by_label(scores, criterion, probability_margin, 0.0)


@loss("dlr", LabelsCriterion)
def label_margin(scores: Tensor, criterion: LabelsCriterion) -> Tensor:
    """Return the mean margin of the labels, which is what the ratio is for two classes."""
    return by_label(scores, criterion, difference_of_logits_ratio, 0.0)


@loss("mifpe", LabelsCriterion)
def label_scaled_cross_entropy(scores: Tensor, criterion: LabelsCriterion) -> Tensor:
    """Return the mean margin, with the gradient of cross-entropy at a scale per label."""
    return by_label(scores, criterion, scaled_cross_entropy, 0.0)
