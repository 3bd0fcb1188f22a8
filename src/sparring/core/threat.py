"""What the adversary may do and wants: space, goal, access, budget, channel, frozen in one value."""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from sparring.core.dice import Dice
from sparring.core.domain import Batch, Domain
from sparring.core.errors import InputError, PlanError

ACCESS = ("labels", "scores", "gradients")
"""What a victim can be asked for, weakest first; each level includes the ones before it."""


class Region(ABC):
    """The points allowed around each clean input of one batch: a space bound to rows.

    All methods are row-wise: row i of the answer depends on row i alone. Besides the three abstract
    methods a region offers what it can, and an attack states what it `uses`:

    - `project(x)`: the nearest allowed points;
    - `steepest(g)`: the direction of unit size along which g ascends fastest; `ascend(x, g, length)`: a step along it;
    - `sample(dice)`: random allowed points;      - `corner(dice)`: random extreme points;
    - `paint(signs)`: edge points chosen per coordinate by sign (boxes only);
    - `toward(x, size)`: points at most `size` from the origin on the way to x (for label attacks);
    - `moves(x, row)`: all allowed one-place changes of one row (discrete spaces, tables).
    """

    origin: Batch
    domain: Domain

    @abstractmethod
    def take(self, rows: Tensor) -> "Region":
        """The region of these rows (an index tensor or a bool mask)."""

    @abstractmethod
    def size(self, x: Batch) -> Tensor:
        """float64 [n]: how large the change from the origin is, in the unit of the radius."""

    @abstractmethod
    def inside(self, x: Batch) -> Tensor:
        """bool [n]: exact check that x is allowed."""

    def complaint(self, x: Batch) -> list[str]:
        """Per row the reason why it is not allowed, or an empty string."""
        sizes, inside = self.size(x).tolist(), self.inside(x).tolist()
        return ["" if good else f"size {size:.6g} is outside" for size, good in zip(sizes, inside, strict=True)]


class Space(ABC):
    """What may change and by how much. Frozen. `radius` is a float, or a float64 tensor with one a sample."""

    kind: ClassVar[str]
    region: ClassVar[type[Region]]
    parse: ClassVar[Callable[..., "Space"]]
    """The space from the arguments written in a plan: `linf 8/255` calls `parse(8 / 255)`."""

    radius: float | Tensor

    @abstractmethod
    def around(self, origin: Batch, domain: Domain) -> Region:
        """The region of allowed points around `origin` ([n, ...])."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Plain JSON that names everything that matters: it goes into the key of the record."""

    @abstractmethod
    def say(self) -> str:
        """The space in words and formula, for the threat card."""

    def short(self) -> str:
        """The space as it is written in a plan: "linf 0.1"."""
        return f"{self.kind} {'per sample' if isinstance(self.radius, Tensor) else format(self.radius, 'g')}"

    @classmethod
    def offers(cls) -> frozenset[str]:
        """What an attack may use here: the public methods of the region."""
        return frozenset(name for name in dir(cls.region) if not name.startswith("_"))

    def take(self, rows: Tensor) -> "Space":
        """This space for some of the samples: picks their radii where these differ."""
        if isinstance(self.radius, Tensor):
            return self.with_radius(self.radius[rows.to(self.radius.device)])
        return self

    def with_radius(self, radius: float | Tensor) -> "Space":
        """The same space with another radius."""
        return dataclasses.replace(self, radius=radius)  # type: ignore[type-var]

    def radii(self, count: int, device: torch.device | str = "cpu") -> Tensor:
        """float64 [count]: the radius of every sample."""
        radius = torch.as_tensor(self.radius, dtype=torch.float64, device=device)
        if radius.ndim and len(radius) != count:
            raise InputError(f"{len(radius)} radii for {count} samples: give one radius, or one a sample")
        return radius.expand(count)


def check_radius(radius: float | Tensor) -> None:
    """Refuse radii that are no numbers, negative or not finite."""
    if not isinstance(radius, Real | Tensor):
        raise InputError(f"radius is {radius!r}: give a number, or a tensor of one number a sample")
    values = torch.as_tensor(radius, dtype=torch.float64)
    if values.ndim > 1:
        raise InputError(f"radius has shape {tuple(values.shape)}: give a number, or one number a sample")
    if not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
        raise InputError(f"radius must be finite and at least 0, got {radius}")


class Reference(NamedTuple):
    """What success is measured against, frozen before the first question.

    label: int64 [n], the true class. anchor: int64 [n], the class to leave or to reach.
    sign: float [n], +1 to leave the anchor, -1 to reach it.
    """

    label: Tensor
    anchor: Tensor
    sign: Tensor

    def take(self, rows: Tensor) -> "Reference":
        return Reference(*(part[rows] for part in self))


def lead(scores: Tensor, anchor: Tensor) -> Tensor:
    """[n]: the best score of any other class minus the score of the anchor class ([n, C], [n])."""
    own = scores.gather(1, anchor[:, None])
    rest = scores.scatter(1, anchor[:, None], -math.inf)
    return (rest.amax(1, keepdim=True) - own).squeeze(1)


class Goal(ABC):
    """What the adversary wants. Frozen."""

    kind: ClassVar[str]

    @abstractmethod
    def reference(self, y: Tensor, dice: Dice, classes: int) -> Reference:
        """Freeze what success means for these samples."""

    @abstractmethod
    def describe(self) -> dict[str, Any]: ...

    def take(self, rows: Tensor) -> "Goal":
        return self

    def margin(self, scores: Tensor, reference: Reference) -> Tensor:
        """[n]: positive exactly when the goal is met; the score to climb. scores: [n, C]."""
        return reference.sign * lead(scores, reference.anchor)

    def done(self, labels: Tensor, reference: Reference) -> Tensor:
        """bool [n]: is the goal met by these predicted classes? A class below 0 means no answer."""
        return ((labels == reference.anchor) == (reference.sign < 0)) & (labels >= 0)


@dataclass(frozen=True)
class Budget:
    """Limits per sample and attack; None is no limit.

    queries: answers of the victim, of any kind. steps: iterations of an attack. seconds: wall clock.
    """

    queries: int | None = None
    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value is not None and not value >= 0:
                raise PlanError(f"budget {name}={value}: must be at least 0")

    def describe(self) -> dict[str, Any]:
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Threat:
    """What the adversary may do and wants.

    space: what may change. goal: what counts as success. access: "gradients", "scores" or "labels".
    budget: limits per sample. channel: what the world does to a point before the victim sees it
    (None: nothing; the place is kept for print, camera and room). minimal: within the radius the smallest
    change is wanted, so a search goes on after its first success; else any change will do.
    """

    space: Space
    goal: Goal
    access: str = "gradients"
    budget: Budget = field(default_factory=Budget)
    channel: None = None
    minimal: bool = False

    def __post_init__(self) -> None:
        if self.access not in ACCESS:
            raise PlanError(f"access {self.access!r}: choose one of {', '.join(ACCESS)}")

    @property
    def grants(self) -> frozenset[str]:
        """What the adversary may ask for: its access and everything weaker."""
        return frozenset(ACCESS[: ACCESS.index(self.access) + 1])

    def toward(self, goal: Goal) -> "Threat":
        return dataclasses.replace(self, goal=goal)

    def seeing(self, access: str) -> "Threat":
        """The same threat with less (or more) access."""
        return dataclasses.replace(self, access=access)

    def within(self, *, queries: int | None = None, steps: int | None = None, seconds: float | None = None) -> "Threat":
        """The same threat with a budget."""
        return dataclasses.replace(self, budget=Budget(queries, steps, seconds))

    def at(self, radius: float | Tensor) -> "Threat":
        """The same threat at another radius."""
        return dataclasses.replace(self, space=self.space.with_radius(radius))

    def smallest(self) -> "Threat":
        """The same threat, looking for the smallest change that meets the goal."""
        return dataclasses.replace(self, minimal=True)

    def take(self, rows: Tensor) -> "Threat":
        """The threat for some of the samples: picks per-sample radii and targets."""
        return dataclasses.replace(self, space=self.space.take(rows), goal=self.goal.take(rows))

    def describe(self) -> dict[str, Any]:
        """Plain JSON; equal descriptions are equal threats."""
        return {
            "space": self.space.describe(),
            "goal": self.goal.describe(),
            "access": self.access,
            "budget": self.budget.describe(),
            "channel": self.channel,
            **({"minimal": True} if self.minimal else {}),
        }
