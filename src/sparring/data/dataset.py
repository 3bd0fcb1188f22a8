"""A data set: samples (id, x, y), a hash and a licence line."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sparring.core.arguments import shown
from sparring.core.domain import Batch, Domain
from sparring.core.errors import InputError, UnknownName, UsageError
from sparring.core.foreign import in_our_words, ours
from sparring.core.show import facts_table
from sparring.core.task import Task
from sparring.core.visible import in_utf_8
from sparring.data.torch_sets import collected, names_in
from sparring.tasks.classes import Classes

EXTRA = ("ids", "licence", "source")
"""Further fields that `Data.of` passes on."""

DOMAINS = "describe the inputs with domain=sp.image(28, 28), sp.table(frame) or sp.text()"
MOST_SAMPLES = 5_000_000
"""Samples that data may have, each with an id: four times ImageNet, and more than any attack gets through."""

SHOWN = 20
"""Classes that a notebook shows."""


@dataclass(frozen=True, repr=False)
class Data:
    """Represent a data set in memory.

    `load` and `Data.of` make data from files and arrays; the constructor takes all parts. All of them check it against domain and task.

    Args:
        name: How people call the data.
        ids: One per sample, unique and stable; strings or whole numbers.
        x: A batch of the domain: float32 or float64 [n, channels, height, width] for images, float64 [n, columns] for tables, strings [n] for text.
        y: The true answers, int64 [n] for classes; what another task holds its class describes.
        domain: What the inputs are.
        classes: Names of the classes, by number; empty where the answers are no classes.
        licence: One line, or "unknown".
        source: Where the data was read from.
        task: What an answer is.

    Raises:
        InputError: For inputs and answers that do not fit domain, task or each other, and for ids that are not one per sample.

    Example:
        >>> from sparring.data.load import load
        >>> load("digits", take=4)
        Data('digits', 4 samples of image, 10 classes)
    """

    name: str
    ids: list[str]
    x: Batch
    y: Tensor
    domain: Domain
    classes: list[str]
    licence: str = "unknown"
    source: str = "given in Python"
    task: Task = field(default_factory=Classes)

    def __post_init__(self) -> None:
        if not isinstance(self.domain, Domain):
            raise InputError(f"{self.name}: the domain is {self.domain!r}: {DOMAINS}")
        if not isinstance(self.task, Task):
            raise InputError(f"{self.name}: the task is {self.task!r}: give a Task, such as sparring.tasks.classes.Classes(10), or leave it out")
        if isinstance(self.classes, str) or not isinstance(self.classes, Sequence):
            raise InputError(f"{self.name}: classes={shown(self.classes)}: give the names of the classes by number, as a list")
        task, classes = self.task, [str(one) for one in self.classes]
        if isinstance(task, Classes) and task.classes is None and len(classes) > 1:
            task = Classes(len(classes))
        try:
            x = self.domain.check(self.x)
            if len(x) == 0:
                raise InputError("there are no samples: give at least one")
            refuse_many(len(x), "the data")
            y = task.check(self.y, len(x))
            task = task.measured(y)
        except UsageError as error:
            raise InputError(f"{self.name}: {error}") from error
        if isinstance(task, Classes) and not classes:
            classes = [str(number) for number in range(task.classes or int(y.max()) + 1)]
            task = Classes(len(classes)) if task.classes is None and len(classes) > 1 else task
        y = y.to(x.device) if isinstance(x, Tensor) else y
        ids = [in_utf_8(one) for one in _ids(self.ids, len(x), self.name)]
        plain = {"name": in_utf_8(self.name), "ids": ids, "x": x, "y": y, "classes": [in_utf_8(one) for one in classes], "task": task}
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    def derived(self, **changes: Any) -> "Data":
        """Return the same data with some fields replaced, without checking them again.

        It is for values that follow from checked ones.

        Args:
            changes: Fields of `Data`.

        Returns:
            The `Data` with these fields.

        Example:
            >>> from sparring.data.load import load
            >>> load("digits", take=4).derived(name="four").name
            'four'
        """
        made = object.__new__(type(self))
        for one in fields(self):
            object.__setattr__(made, one.name, changes.get(one.name, getattr(self, one.name)))
        return made

    @classmethod
    @in_our_words
    def of(
        cls, x: Any, y: Any = None, domain: Domain | None = None, *, name: str = "data", classes: Sequence[Any] | None = None, task: Task | None = None,
        take: int | None = None, **more: Any,
    ) -> "Data":  # fmt: skip
        """Return data from arrays, or from a torch `Dataset` or `DataLoader`; ids are positions.

        Args:
            x: The inputs, or a torch set of pairs (x, y).
            y: The true answers; none where a torch set brings them. Names of classes are numbered as in `classes`, else in sorted order.
            domain: What the inputs are.
            name: How people call the data.
            classes: Names of the classes, by number; those that a torch set knows if left out.
            task: What y holds, classes if left out.
            take: The first so many samples only; a torch set is not read further.
            more: Further fields of `Data`: ids, licence and source.

        Returns:
            The `Data`, checked against domain and task.

        Raises:
            InputError: For what does not fit domain or task, and for a loader that shuffles.
            UnknownName: For a field that data does not have.

        Example:
            >>> from torch.utils.data import TensorDataset
            >>> from sparring.domains.table import Column, Table
            >>> pairs = TensorDataset(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]))
            >>> Data.of(pairs, domain=Table((Column("height"),)))
            Data('data', 2 samples of table, 2 classes)
        """
        for field_name in more:
            if field_name not in EXTRA:
                raise UnknownName("argument of Data.of", field_name, (*EXTRA, "name", "classes", "task", "take"), hint=ours(field_name, EXTRA))
        if isinstance(y, Domain) and domain is None:
            y, domain = None, y
        if not isinstance(domain, Domain):
            raise InputError(f"{name}: the domain is {domain!r}: {DOMAINS}")
        if isinstance(x, Dataset | DataLoader):
            if y is not None:
                raise InputError(f"{name}: x is a {type(x).__name__}, whose items contain their labels: leave out y")
            named = names_in(x) if classes is None and (task is None or isinstance(task, Classes)) else []
            x, y = collected(x, domain, take, name)
            classes = named if named and isinstance(y, Tensor) and bool((y < len(named)).all()) else classes
        elif y is None:
            raise InputError(f"{name}: y is missing: give the true answers, or a torch Dataset or DataLoader of pairs (x, y)")
        elif take is not None:
            return cls.of(x, y, domain, name=name, classes=classes, task=task, **more).take(take)
        if isinstance(task, Classes | None):
            y, classes = _numbered(y, classes, name)
        ids: Any = more.pop("ids", None)
        if ids is None or (hasattr(ids, "__len__") and len(ids) == 0):
            count = len(x) if hasattr(x, "__len__") else 0
            width = max(5, len(str(count - 1)))
            ids = [f"{name}/{place:0{width}d}" for place in range(count)]
        answers: Any = y
        return cls(name, ids, x, answers, domain, list(classes or ()), task=Classes() if task is None else task, **more)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Data({self.name!r}, {len(self)} sample{'' if len(self) == 1 else 's'} of {self.domain.kind}, {self._answers})"

    @property
    def _answers(self) -> str:
        """Return the kind of the true answers in words, with the named classes of the task."""
        return f"{len(self.classes)} class{'' if len(self.classes) == 1 else 'es'}" if isinstance(self.task, Classes) else str(self.task)

    def _repr_html_(self) -> str:
        """Return a table for notebooks: name, size, domain, answers, licence, and how often each class occurs."""
        facts = {"data": self.name, "samples": len(self), "inputs": self.domain, "answers": self._answers, "licence": self.licence, "source": self.source}
        if isinstance(self.task, Classes):
            counts = Counter(self.y.tolist())
            named = [f"{one} ({counts[place]})" for place, one in enumerate(self.classes[:SHOWN])]
            facts["classes"] = ", ".join(named) + (" …" if len(self.classes) > SHOWN else "")
        return facts_table(facts)

    @in_our_words
    def rows(self, rows: Tensor | Sequence[int]) -> "Data":
        """Return some of the samples.

        Args:
            rows: Their positions, a tensor or a list of whole numbers; the result has their order.

        Returns:
            The `Data` of these samples, with their ids.

        Raises:
            InputError: For a position that the data does not have.

        Example:
            >>> from sparring.data.load import load
            >>> load("digits", take=4).rows([3, 0]).ids
            ['digits/test/00011', 'digits/test/00002']
        """
        rows = torch.as_tensor(rows)
        if rows.ndim != 1 or rows.is_floating_point() or (len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(self)):
            raise InputError(f"rows {rows.tolist()}: give a list of positions, 0 to {len(self) - 1}")
        places = rows.tolist()
        return self.derived(ids=[self.ids[place] for place in places], x=self.x[rows], y=self.y[rows])

    def numbered(self, names: Sequence[Any]) -> "Data":
        """Return the same samples with their classes numbered as in a list of names.

        Args:
            names: The names of all classes in their new order; samples keep the name of their class.

        Returns:
            The `Data` with these classes.

        Raises:
            InputError: For data without classes, and for names that occur twice or are none.
            UnknownName: For a class of a sample that the list lacks.

        Example:
            >>> from sparring.data.load import load
            >>> load("breast-cancer", take=4).numbered(["benign", "malignant"]).classes
            ['benign', 'malignant']
        """
        listed = [str(name) for name in names]
        if not isinstance(self.task, Classes):
            raise InputError(f"{self.name} holds {self.task}, not classes: leave out classes=")
        if not listed or len(set(listed)) < len(listed):
            raise InputError(f"classes={shown(listed)}: give the name of every class once")
        held = self.y.unique().tolist()
        for name in (self.classes[number] for number in held if number >= 0):
            if name not in listed:
                raise UnknownName(f"class of {self.name}", name, listed)
        places = torch.tensor([listed.index(name) if name in listed else -1 for name in self.classes], dtype=self.y.dtype, device=self.y.device)
        return self.derived(y=places[self.y], classes=listed, task=Classes(len(listed)))

    def take(self, count: int | None, seed: int | None = None) -> "Data":
        """Return the first `count` samples, or with a seed a random choice in the order of the data.

        Args:
            count: How many samples, at least 1. None, or more than there are, means all.
            seed: Seed of the random choice, a whole number of at least 0.

        Returns:
            The `Data` of these samples; ids stay those of the whole set.

        Raises:
            InputError: For a count that is no whole number of at least 1, and for a seed that is none of at least 0.

        Example:
            >>> from sparring.data.load import load
            >>> len(load("digits").take(5, seed=1))
            5
        """
        for said, value, least in (("take", count, 1), ("seed", seed, 0)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least):
                raise InputError(f"{said}={shown(value)}: give a whole number of at least {least}, or leave it out")
        if count is None or count >= len(self):
            return self
        if seed is None:
            return self.rows(torch.arange(count))
        chosen = np.random.default_rng(seed).choice(len(self), count, replace=False)
        return self.rows(torch.as_tensor(np.sort(chosen)))

    @cached_property
    def sha256(self) -> str:
        """Return the hash of ids, inputs and labels, as 64 hexadecimal digits.

        Example:
            >>> from sparring.data.load import load
            >>> load("digits", take=4).sha256 == load("digits").take(4).sha256
            True
        """
        digest = hashlib.sha256("\n".join(self.ids).encode())
        packed = self.domain.pack(self.x)
        digest.update(str((packed.dtype, packed.shape)).encode())
        digest.update(np.ascontiguousarray(packed).tobytes())
        digest.update(self.y.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Return plain JSON for the record.

        Returns:
            Name, number of samples, hash, classes, task, domain, licence and source.

        Example:
            >>> from sparring.data.load import load
            >>> load("digits", take=4).describe()["n"]
            4
        """
        return {
            "name": self.name,
            "n": len(self),
            "sha256": self.sha256,
            "classes": self.classes,
            "task": self.task.describe(),
            "domain": self.domain.describe(),
            "licence": self.licence,
            "source": self.source,
        }


def _numbered(y: Any, classes: Sequence[Any] | None, name: str) -> tuple[Any, Sequence[Any] | None]:
    """Return classes that are given by their names as numbers, int64 [n], with all names; others as they are.

    Raises:
        UnknownName: For a name that `classes` lacks.
    """
    given = y if isinstance(y, list | tuple) else y.tolist() if isinstance(y, np.ndarray | pd.Series) and y.dtype.kind not in "biufc" else []
    listed = [one[0] if isinstance(one, list | tuple) and len(one) == 1 else one for one in given]
    words = [one for one in listed if isinstance(one, str)]
    if not words or len(words) < len(listed):
        return y, classes
    names = sorted(set(words)) if classes is None else [str(one) for one in classes]
    places = {one: place for place, one in enumerate(names)}
    if unknown := [one for one in words if one not in places]:
        raise UnknownName(f"class of {name}", unknown[0], names)
    return np.array([places[one] for one in words], dtype=np.int64), names


def _ids(given: Any, count: int, name: str) -> list[str]:
    """Return the ids of samples as strings; InputError where they are not one per sample, each another."""
    cure = "give a list of strings or whole numbers, one per sample"
    listed = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(listed, str) or not isinstance(listed, Sequence):
        raise InputError(f"{name}: ids={shown(given)}: {cure}")
    for one in listed:
        if isinstance(one, bool) or not isinstance(one, str | int | np.integer | os.PathLike):
            raise InputError(f"{name}: the sample id {one!r} is a {type(one).__name__}: {cure}")
    ids = [str(one) for one in listed]
    if len(ids) != count:
        raise InputError(f"{name}: {len(ids)} sample ids for {count} samples: {cure}")
    if len(set(ids)) != count:
        twice = next(one for one, times in Counter(ids).items() if times > 1)
        raise InputError(f"{name}: the sample id {twice!r} occurs twice: give every sample its own")
    return ids


def refuse_many(count: int, where: str) -> None:
    """Raise InputError for more samples than data may have; asked before they are read."""
    if count > MOST_SAMPLES:
        raise InputError(f"{where} has {count:,} samples, the limit is {MOST_SAMPLES:,}: give a part of them")
