"""Draws random numbers keyed by (seed, sample, draw), which no batch, order or shard can change.

The generator is counter based: key and counter go through the finaliser of SplitMix64
(Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"), in int64 tensors
on the device where the samples live.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift(value: Tensor, bits: int) -> Tensor:
    """Logical right shift; torch shifts int64 arithmetically."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _mix(value: Tensor) -> Tensor:
    value = (value ^ _shift(value, 30)) * _MIX_1
    value = (value ^ _shift(value, 27)) * _MIX_2
    return value ^ _shift(value, 31)


def number_of(name: str | int) -> int:
    """Return a stable 63-bit number for a sample id or the name of a draw."""
    return int.from_bytes(hashlib.blake2b(str(name).encode(), digest_size=8).digest()) >> 1


@dataclass(frozen=True)
class Rng:
    """Hold one independent stream of random numbers per sample.

    keys: int64 [n], one key per sample. `draw(name)` returns a fresh, independent rng for each name,
    so a step of an attack calls `rng.draw(k)` and gets the same numbers in any batch.
    """

    keys: Tensor

    @classmethod
    def of(cls, seed: int, ids: Sequence[str | int], device: torch.device | str = "cpu") -> "Rng":
        """Return the rng of these sample ids under this seed."""
        keys = torch.tensor([number_of(name) for name in ids], dtype=torch.int64, device=device)
        return cls(_mix(keys + number_of(f"seed {seed}")))

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: Tensor) -> "Rng":
        """Return the rng of some of the samples (an index tensor or a bool mask)."""
        return Rng(self.keys[rows])

    def draw(self, name: str | int) -> "Rng":
        """Return an independent rng for a named draw."""
        return Rng(_mix(self.keys ^ number_of(name)))

    def _bits(self, count: int) -> Tensor:
        counter = torch.arange(1, count + 1, dtype=torch.int64, device=self.keys.device) * _GOLDEN
        return _mix(self.keys[:, None] + counter)

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw numbers in [0, 1) of shape [n, *shape]."""
        digits = 1 - round(math.log2(torch.finfo(dtype).eps))
        bits = _shift(self._bits(math.prod(shape)), 64 - digits)
        return (bits.to(dtype) * 2.0**-digits).reshape(len(self), *shape)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw standard normal numbers of shape [n, *shape], by the method of Box and Muller."""
        count = math.prod(shape)
        half = (count + 1) // 2
        first, second = self.uniform(2 * half, dtype=dtype).split(half, dim=1)
        length = torch.sqrt(-2.0 * torch.log1p(-first))
        angle = 2.0 * math.pi * second
        pairs = torch.cat([length * torch.cos(angle), length * torch.sin(angle)], dim=1)
        return pairs[:, :count].reshape(len(self), *shape)

    def signs(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw numbers -1 or +1 with equal probability, of shape [n, *shape]."""
        bits = _shift(self._bits(math.prod(shape)), 63)
        return (bits * 2 - 1).to(dtype).reshape(len(self), *shape)

    def integers(self, high: Tensor | int, *shape: int) -> Tensor:
        """Draw whole numbers in [0, high) of shape [n, *shape]; `high` may differ per sample ([n])."""
        bound = torch.as_tensor(high, device=self.keys.device)
        if bound.ndim == 1:
            bound = bound.reshape(-1, *[1] * len(shape))
        return (self.uniform(*shape, dtype=torch.float64) * bound).to(torch.int64)
