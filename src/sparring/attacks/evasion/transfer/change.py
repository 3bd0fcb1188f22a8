"""Changes of the gradient: small frozen values that compose around one query, `changes="mi+di+ti"`; one file each in `changes/`."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from sparring.core.errors import PlanError, UnknownName
from sparring.core.expression import Expression, parse, split_list
from sparring.core.problem import Problem
from sparring.core.registry import everything
from sparring.core.rng import Rng
from sparring.core.space import wide
from sparring.core.victim import Victim, say_set


class Memory(NamedTuple):
    """Hold what changes carry from step to step, each shaped like the points; zero at the start."""

    velocity: Tensor
    variance: Tensor


class Answer(NamedTuple):
    """Represent a gradient shaped like the points, and the memory for the next step."""

    grad: Tensor
    memory: Memory


Ask = Callable[[Tensor, Rng], Answer]
"""(points [m, ...], rng of the same rows) to the answer about them."""


class Pool(NamedTuple):
    """Hold images of known classes to mix in: x [k, ...] and y int64 [k].

    The pool stays the same whatever the batch.
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Here:
    """Hold where a step is taken.

    share: the length of the step as a share of the radius. decay: of the velocity, 0 without one.
    """

    problem: Problem
    memory: Memory
    share: float
    decay: float
    pool: Pool | None = None


class Change(ABC):
    """Turn one way of querying a gradient into another; see `@register("change", "name")`.

    order: where it lies around the question; those with a lower number lie further out. The velocity gathers what all the others gave; the
    place is chosen before neighbours, images and scales are; the transformation of an image is the last step before the network, and
    smoothing undoes its jitter. cites: paper. moves: asks about other points than the one it is given. images: makes sense for
    [n, channels, height, width] only. tasks: kinds of task that it is for, empty for all. builds_on: the name of a change without which it makes
    no sense. mixes: needs a pool of images. of_surrogate: changes the surrogate, so it cannot work on the victim's own gradients.
    """

    order: ClassVar[int] = 100
    cites: ClassVar[str] = ""
    moves: ClassVar[bool] = False
    images: ClassVar[bool] = False
    builds_on: ClassVar[str] = ""
    mixes: ClassVar[bool] = False
    tasks: ClassVar[frozenset[str]] = frozenset()
    of_surrogate: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, ask: Ask, here: Here) -> Ask:
        """Return `ask`, changed."""

    def complaint(self, victim: Victim) -> str | None:
        """Return why this change does not suit inputs of this victim; None where it does."""
        if self.tasks and victim.task.kind not in self.tasks:
            return f"{name_of(self)} is for {say_set(self.tasks)}; {victim.name} answers {victim.task}: leave it out of changes"
        shape = getattr(victim.domain, "shape", ())
        if self.images and len(shape) != 3:
            return f"{name_of(self)} is for images; {victim.name} takes {victim.domain}: leave it out of changes"
        return None

    def prepare(self, surrogate: Victim) -> Victim:
        """Return the surrogate whose gradients are taken in place of this one."""
        return surrogate

    @property
    def carried(self) -> float:
        """Return the share of the velocity that goes on to the next step; 0 without a velocity."""
        return 0.0


def compose(changes: Sequence[Change], ask: Ask, here: Here) -> Ask:
    """Put all changes around one question, the first outermost."""
    for change in reversed(changes):
        ask = change(ask, here)
    return ask


def known_changes() -> dict[str, type[Change]]:
    """Return all changes by their names in a plan, outermost around the query first."""
    return dict(sorted(everything("change").items(), key=lambda item: (item[1].order, item[0])))


def name_of(change: Change) -> str:
    """Return its name in a plan."""
    return next(name for name, kind in everything("change").items() if type(change) is kind)


def read_changes(written: str) -> tuple[Change, ...]:
    """Read changes written as `mi+di(chance=0.7)+ti`; the result is outermost first.

    Nothing, or "none", is the plain gradient. Raises UnknownName or PlanError.

    >>> [type(change).__name__ for change in read_changes("ti+mi(decay=0.9)")]
    ['Momentum', 'Translation']
    """
    known, found = known_changes(), {}
    for part in [] if written.strip() == "none" else split_list(written, "+"):
        name, _, settings = _read(part, written)
        if name not in known:
            raise UnknownName("change of the gradient", name, known)
        if name in found:
            raise PlanError(f"changes={written!r}: {name} is given twice")
        for setting in settings:
            if setting not in (own := [field.name for field in dataclasses.fields(cast(Any, known[name]))]):
                raise UnknownName(f"setting of {name}", setting, own)
        found[name] = known[name](**settings)
    for name, change in found.items():
        if change.builds_on and change.builds_on not in found:
            raise PlanError(f"changes={written!r}: {name} builds on {change.builds_on}: write {change.builds_on}+{name}")
    return tuple(found[name] for name in known if name in found)


def _read(part: str, written: str) -> Expression:
    """Read one part, whose settings need their names."""
    try:
        found = parse(part)
    except PlanError:
        found = None
    if found is None or found.arguments:
        raise PlanError(f"changes={written!r}: cannot read {part!r}: write names with + between, mi+di(chance=0.7)+ti")
    return found


def require(change: Any, good: Callable[[], bool], needed: str) -> None:
    """Raise PlanError where a setting is of the wrong kind or out of range."""
    for field in dataclasses.fields(change):
        value, default = getattr(change, field.name), field.default
        whole = isinstance(default, int)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise PlanError(f"{type(change).__name__}({field.name}={value!r}): give a {'whole ' if whole else ''}number, the default is {default!r}")
    if not good():
        raise PlanError(f"{change}: needs {needed}")


def unit(g: Tensor) -> Tensor:
    """Return each row with a mean absolute value of 1; zeros stay zeros."""
    return g / wide(mean_size(g).clamp_min(torch.finfo(g.dtype).tiny), g)


def mean_size(g: Tensor) -> Tensor:
    """Return the mean absolute value of each row, [m]."""
    return g.abs().flatten(1).mean(1)
