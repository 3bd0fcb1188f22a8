"""Lengths of gradients."""

from torch import Tensor


def squared_length(gradient: Tensor) -> Tensor:
    """Return the squared Euclidean length of each sample's gradient, [n]."""
    return gradient.flatten(1).square().sum(1)
