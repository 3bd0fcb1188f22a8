"""Gives one value per row the axes of a batch, so that the two can be multiplied."""

from torch import Tensor


def wide(rows: Tensor, like: Tensor) -> Tensor:
    """Return values per row, [n], as [n, 1, ...] with as many axes as `like`.

    >>> import torch
    >>> wide(torch.zeros(2), torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 1, 1, 1])
    """
    return rows.reshape(-1, *[1] * (like.ndim - 1))
