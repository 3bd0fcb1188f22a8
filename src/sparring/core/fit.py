"""A training procedure as a value: it maps data and a seed to a victim, cached under a hash."""

import dataclasses
import hashlib
import inspect
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from sparring.core.code import code_of, code_of_subject
from sparring.core.domain import Batch, Domain
from sparring.core.errors import InputError, PlanError, SparringError, UnknownName
from sparring.core.expression import parse
from sparring.core.fingerprint import digest
from sparring.core.registry import find
from sparring.core.task import Task
from sparring.core.victim import Victim

log = logging.getLogger(__name__)

LABEL = "fit.json"
"""The file that is written last: a fit without it is not there."""


class Samples(Protocol):
    """Describe the data that a fit learns from; names and ids do not matter."""

    @property
    def name(self) -> str:
        """Return the name for messages."""
        ...

    @property
    def x(self) -> Batch:
        """Return the inputs."""
        ...

    @property
    def y(self) -> Tensor:
        """Return the truth of each."""
        ...

    @property
    def domain(self) -> Domain:
        """Return the kind of inputs."""
        ...

    @property
    def task(self) -> Task:
        """Return the kind of truth."""
        ...

    def __len__(self) -> int: ...
    def rows(self, rows: Tensor) -> Self:
        """Return some of the samples."""
        ...


class Files(Protocol):
    """Describe a folder to keep fits in, such as a `records.store.Store`."""

    def exists(self, name: str) -> bool:
        """Return whether a file is there."""
        ...

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file."""
        ...


class Fit(ABC):
    """Represent a training procedure with its settings.

    A subclass is a frozen dataclass, registered with `@register("fit", "name")`.

    The same samples, in whatever order, and the same seed give the same victim, bit for bit on one processor. Neither the global random state nor the
    data is touched.
    """

    kind: ClassVar[str]
    """Name in the registry."""

    @abstractmethod
    def learn(self, data: Samples, seed: int) -> Victim:
        """Return a fresh victim; the samples come in their canonical order."""

    @abstractmethod
    def pack(self, victim: Victim) -> bytes:
        """Return what a victim has learned, as bytes that are read without unpickling."""

    @abstractmethod
    def unpack(self, content: bytes, data: Samples) -> Victim:
        """Return the victim that `pack` wrote. data: gives the kinds of inputs and answers.

        Raises:
            LoadError: for content of another kind.
        """

    def __call__(self, data: Samples, seed: int = 0) -> Victim:
        """Fit a fresh victim.

        Args:
            data: The samples; their order and ids do not matter.
            seed: Of everything random.

        Raises:
            InputError: for data that this fit cannot learn from.
            PlanError: where training fails.
        """
        return self.learn(canonical(data)[0], seed)

    def many(self, datas: Sequence[Samples], seeds: Sequence[int]) -> list[Victim]:
        """Return one victim per data set and seed, fitted as one batch.

        The samples come in their canonical order.
        """
        return [self.learn(data, seed) for data, seed in zip(datas, seeds, strict=True)]

    def width(self, datas: Sequence[Samples]) -> int:
        """Return how many fits are carried out as one batch.

        What they learn may depend on it in the last bits.
        """
        return 1

    def key(self, data: Samples, seed: int, width: int = 1) -> str:
        """Return the address of what is learned: a hash of procedure, samples, seed and code.

        width: of the batch that it is fitted in.
        """
        return self._key(content_of(canonical(data)[1], data), seed, width)

    def _key(self, content: str, seed: int, width: int) -> str:
        procedure = json.dumps(self.describe(), sort_keys=True)
        return digest(procedure, content, str(seed), str(width), code_of(self))[:16]

    def cached(self, data: Samples, seed: int, files: Files) -> Victim:
        """Return the victim of `fit(data, seed)`, read from the files where it is there.

        Else it is fitted and written there. A file that is damaged or belongs to something else is fitted anew and replaced, which a warning in the log says.
        """
        ordered, samples = canonical(data)
        key = self._key(content_of(samples, data), seed, 1)
        found = self.restore(key, ordered, files)
        if found is None:
            found = self.learn(ordered, seed)
            self.keep(key, found, files)
        return found

    def restore(self, key: str, data: Samples, files: Files) -> Victim | None:
        """Return the victim with that key, or None if it is missing or damaged."""
        if not files.exists(f"fits/{key}/{LABEL}"):
            return None
        try:
            label = json.loads(files.read(f"fits/{key}/{LABEL}"))
            content = files.read(f"fits/{key}/learned")
            if label["key"] != key or label["sha256"] != hashlib.sha256(content).hexdigest():
                raise InputError("its fit.json describes something else")
            return self.unpack(content, data)
        except (SparringError, OSError, ValueError, KeyError, TypeError) as error:
            log.warning("the fit fits/%s is damaged or belongs to something else (%s): it is fitted again", key, error)
            return None

    def keep(self, key: str, victim: Victim, files: Files) -> None:
        """Write a victim under its key: weights first, fit.json last."""
        content = self.pack(victim)
        files.write(f"fits/{key}/learned", content)
        label = {"key": key, "sha256": hashlib.sha256(content).hexdigest(), "fit": self.describe(), "model": victim.describe()}
        files.write(f"fits/{key}/{LABEL}", json.dumps(label, indent=1, sort_keys=True).encode())

    def describe(self) -> dict[str, Any]:
        """Return plain JSON with every setting."""
        return {"fit": self.kind, **json.loads(json.dumps(dataclasses.asdict(self)))}  # type: ignore[call-overload]

    @property
    def parts(self) -> tuple[Any, ...]:
        """Return things found by name whose code decides what is learned."""
        return ()

    @classmethod
    def written(cls, *arguments: Any, **settings: Any) -> Self:
        """Return the fit as it is written in a plan; an unknown setting names the nearest."""
        known = inspect.signature(cls).parameters
        for name in settings:
            if name not in known:
                raise UnknownName(f"setting of {cls.kind}", name, known)
        try:
            return cls(*arguments, **settings)
        except TypeError as error:
            raise PlanError(f"{cls.kind}: {error}: its settings are {', '.join(known)}") from error

    def __str__(self) -> str:
        """Return the fit as a plan writes it: mlp(hidden=[32])."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        missing = dataclasses.MISSING
        defaults = {one.name: one.default_factory() if one.default_factory is not missing else one.default for one in fields}
        given = {name: getattr(self, name) for name in defaults if getattr(self, name) != defaults[name]}
        return (
            f"{self.kind}({', '.join(f'{name}={list(value) if isinstance(value, tuple) else value!r}' for name, value in given.items())})"
            if given
            else self.kind
        )


def read_fit(text: str) -> Fit:
    """Read a fit written as `mlp(hidden=[64], epochs=30)`. Raises UnknownName or PlanError."""
    expression = parse(text)
    return find("fit", expression.name).written(*expression.arguments, **expression.settings)


def fit_many(fit: Fit, data: Samples | Sequence[Samples], seeds: Sequence[int], *, masks: Tensor | None = None, files: Files | None = None) -> list[Victim]:
    """Return many victims in the order of the seeds, fitted as batches where that is faster.

    Args:
        fit: The procedure.
        data: One data set per seed, or one for all of them.
        seeds: One per victim.
        masks: bool [m, n] with one data set: which samples each victim learns from.
        files: Where fits are kept, None to keep none. What is there is read if its whole batch is.

    Returns:
        One victim per seed. Where a batch is wider than one, a victim equals that of `fit(data, seed)` up to rounding; its key names the width.

    Example:
        >>> from sparring.data.load import load
        >>> data = load("digits", split="train", take=100)
        >>> masks = torch.arange(100) % 2 == torch.tensor([[0], [1]])
        >>> first, second = fit_many(read_fit("mlp(epochs=1)"), data, [0, 1], masks=masks)
    """
    shared = not isinstance(data, Sequence)
    if shared and masks is not None:
        if masks.dtype != torch.bool or masks.shape != (len(seeds), len(data)):
            raise InputError(f"masks are {masks.dtype} {tuple(masks.shape)}: give bool [{len(seeds)}, {len(data)}], one row per seed, one column per sample")
        if not bool(masks.any(1).all()):
            raise InputError(f"masks: victim {int(masks.any(1).int().argmin())} has no samples to learn from")
    elif masks is not None:
        raise InputError("masks choose among the samples of one data set: give one, not a list")
    if not shared and len(data) != len(seeds):
        raise InputError(f"{len(data)} data sets for {len(seeds)} seeds: give one per seed, or one for all")
    if not seeds:
        return []
    if shared:
        whole, digests = canonical(data)
        chosen = torch.ones(len(seeds), len(data), dtype=torch.bool) if masks is None else masks[:, _order(data)[0]]
        places = [one.nonzero().squeeze(1) for one in chosen]
        ordered: list[Samples] = [whole if len(one) == len(whole) else whole.rows(one) for one in places]
        contents = [content_of([digests[place] for place in one.tolist()], whole) for one in places]
    else:
        pairs = [canonical(one) for one in data]
        ordered = [one for one, _ in pairs]
        contents = [content_of(samples, one) for one, samples in pairs]
    width, found = fit.width(ordered), []
    for begin in range(0, len(seeds), width):
        part = slice(begin, begin + width)
        some, own = ordered[part], list(seeds[part])
        keys = [fit._key(content, seed, len(some)) for content, seed in zip(contents[part], own, strict=True)] if files else []
        there = [fit.restore(key, one, files) for key, one in zip(keys, some, strict=True)] if files else []
        if there and all(one is not None for one in there):
            found += there
            continue
        made = fit.many(some, own) if len(some) > 1 else [fit.learn(some[0], own[0])]
        for key, one in zip(keys, made, strict=False):
            fit.keep(key, one, files)  # type: ignore[arg-type]
        found += made
    return found


def canonical(data: Samples) -> tuple[Samples, list[str]]:
    """Return the samples in the order of their content, and a hash of each."""
    order, digests = _order(data)
    return data.rows(order), digests


def content_of(digests: Sequence[str], data: Samples) -> str:
    """Return a hash of samples, given by their hashes, and of what inputs and answers are.

    The code of these kinds counts.
    """
    return digest(json.dumps([data.domain.describe(), data.task.describe()], sort_keys=True), code_of_subject(data), *digests)


def _order(data: Samples) -> tuple[Tensor, list[str]]:
    if not len(data):
        raise InputError(f"{data.name} has no samples to learn from: give at least one")
    x, y = data.domain.pack(data.x), np.ascontiguousarray(data.y.detach().cpu().numpy())
    rows = [str(one).encode() for one in x] if x.dtype.kind in "US" else [one.tobytes() for one in np.ascontiguousarray(x)]
    digests = [hashlib.blake2b(row + truth.tobytes(), digest_size=16).hexdigest() for row, truth in zip(rows, y, strict=True)]
    order = sorted(range(len(digests)), key=digests.__getitem__)
    return torch.tensor(order), [digests[place] for place in order]
