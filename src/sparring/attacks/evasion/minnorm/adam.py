"""Adam with one state per row, so that a row can start again while the others continue (Kingma, Ba 2015, arXiv:1412.6980)."""

from typing import NamedTuple

import torch
from torch import Tensor

from sparring.attacks.evasion.minnorm.shrinking import wide_as

FIRST, SECOND = 0.9, 0.999


class Adam(NamedTuple):
    """Hold the state of Adam, one per row.

    mean, square: [m, ...], running averages of the gradient and of its square. age: int64 [m], steps so far.
    """

    mean: Tensor
    square: Tensor
    age: Tensor

    @classmethod
    def like(cls, x: Tensor) -> "Adam":
        """Return a state that has seen no gradient."""
        return cls(torch.zeros_like(x), torch.zeros_like(x), torch.zeros(len(x), dtype=torch.int64, device=x.device))

    def seen(self, g: Tensor) -> "Adam":
        """Return the state after another gradient."""
        return Adam(FIRST * self.mean + (1 - FIRST) * g, SECOND * self.square + (1 - SECOND) * g.square(), self.age + 1)

    def direction(self) -> Tensor:
        """Return the step of unit rate, to be subtracted in descent."""
        return self.mean / wide_as(1 - FIRST ** self.age.double(), self.mean) / self.scale()

    def scale(self) -> Tensor:
        """Return the divisor of each coordinate.

        It is large enough that coordinates without gradient stay where they are.
        """
        return (self.square / wide_as(1 - SECOND ** self.age.double(), self.square)).sqrt() + torch.finfo(self.mean.dtype).tiny * 1e6

    def without(self, rows: Tensor) -> "Adam":
        """Return the same, with nothing seen yet in these rows (bool [m])."""
        keep = wide_as(~rows, self.mean)
        return Adam(self.mean * keep, self.square * wide_as(~rows, self.square), self.age.where(~rows, 0))
