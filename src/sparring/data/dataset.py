"""Samples with names: (id, x, y), a hash and a licence line."""

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.core.domain import Batch, Domain
from sparring.core.errors import InputError, UsageError
from sparring.core.labels import check_labels


@dataclass(frozen=True)
class Data:
    """A data set in memory.

    name: how people call it. ids: one a sample, unique, stable. x: batch of the domain. y: int64 [n].
    classes: names of the classes. licence: one line, or "unknown". source: where it was read from.
    """

    name: str
    ids: list[str]
    x: Batch
    y: Tensor
    domain: Domain
    classes: list[str]
    licence: str = "unknown"
    source: str = "given in Python"

    @classmethod
    def of(cls, x: Any, y: Any, domain: Domain, *, name: str = "data", classes: list[str] | None = None, **more: Any) -> "Data":
        """Data from arrays; ids are the positions. Raises InputError for what does not fit the domain."""
        try:
            batch = domain.check(x)
            count = len(batch)
            if count == 0:
                raise InputError("there are no samples")
            labels = check_labels(y, count, len(classes) if classes else None)
        except UsageError as error:
            raise InputError(f"{name}: {error}") from error
        names = classes or [str(number) for number in range(int(labels.max()) + 1)]
        width = max(5, len(str(count - 1)))
        ids = more.pop("ids", None) or [f"{name}/{place:0{width}d}" for place in range(count)]
        if len(ids) != count:
            raise InputError(f"{name}: {len(ids)} sample ids for {count} samples: give one a sample, or leave them out")
        if len(set(ids)) != count:
            twice = next(one for one, times in Counter(ids).items() if times > 1)
            raise InputError(f"{name}: the sample id {twice!r} occurs twice: give every sample its own, or leave them out")
        return cls(name, ids, batch, labels.to(batch.device) if isinstance(batch, Tensor) else labels, domain, [str(one) for one in names], **more)

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, rows: Tensor) -> "Data":
        """Some of the samples."""
        places = rows.tolist()
        return replace(self, ids=[self.ids[place] for place in places], x=self.x[rows], y=self.y[rows])

    def take(self, count: int | None, seed: int | None = None) -> "Data":
        """The first `count` samples, or with a seed a random choice of them in the order of the data."""
        if count is None or count >= len(self):
            return self
        if count < 1:
            raise InputError(f"take={count}: at least one sample is needed")
        if seed is None:
            return self.rows(torch.arange(count))
        chosen = np.random.default_rng(seed).choice(len(self), count, replace=False)
        return self.rows(torch.as_tensor(np.sort(chosen)))

    @cached_property
    def sha256(self) -> str:
        """Hash of ids, inputs and labels."""
        digest = hashlib.sha256("\n".join(self.ids).encode())
        packed = self.domain.pack(self.x)
        digest.update(str((packed.dtype, packed.shape)).encode())
        digest.update(np.ascontiguousarray(packed).tobytes())
        digest.update(self.y.cpu().numpy().tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Plain JSON for the record."""
        return {
            "name": self.name,
            "n": len(self),
            "sha256": self.sha256,
            "classes": self.classes,
            "domain": self.domain.describe(),
            "licence": self.licence,
            "source": self.source,
        }
