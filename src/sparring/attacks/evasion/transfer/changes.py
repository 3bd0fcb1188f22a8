"""How a gradient is taken and used: small frozen changes that compose around one question, `changes="mi+di+ti"`."""

import ast
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from sparring.core.bout import Bout
from sparring.core.dice import Dice
from sparring.core.errors import InputError, PlanError, UnknownName
from sparring.core.victim import Victim


class Memory(NamedTuple):
    """What changes carry from step to step, each shaped like the points. Zero at the start."""

    velocity: Tensor
    variance: Tensor


class Answer(NamedTuple):
    """A gradient shaped like the points, and the memory for the next step."""

    grad: Tensor
    memory: Memory


Ask = Callable[[Tensor, Dice], Answer]
"""(points [m, ...], dice of the same rows) to the answer about them."""


class Pool(NamedTuple):
    """Images of known classes to mix in: x [k, ...] and y int64 [k]. It stays the same whatever the batch."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Here:
    """Where a step is taken. share: the length of the step as a share of the radius. decay: of the velocity, 0 without one."""

    bout: Bout
    memory: Memory
    share: float
    decay: float
    pool: Pool | None = None


class Change(ABC):
    """Turns one way of asking for a gradient into another.

    moves: asks about other points than the one it is given. images: makes sense for [n, channels, height, width] only.
    """

    moves: ClassVar[bool] = False
    images: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, ask: Ask, here: Here) -> Ask:
        """`ask`, changed."""

    def complaint(self, victim: Victim) -> str | None:
        """Why this change does not suit inputs of this victim; None where it does."""
        shape = getattr(victim.domain, "shape", ())
        if self.images and len(shape) != 3:
            return f"{name_of(self)} is for images; {victim.name} takes {victim.domain.say()}: leave it out of changes"
        return None

    def prepare(self, surrogate: Victim) -> Victim:
        """The surrogate whose gradients are taken in place of this one."""
        return surrogate


@dataclass(frozen=True)
class Momentum(Change):
    """Steps follow a velocity: velocity = decay * velocity + gradient of unit size (Dong et al. 2018, arXiv:1710.06081, equation 6).

    Where we differ: unit size is a mean of 1 over the coordinates, as in the official code, where the paper has a sum of 1.
    """

    decay: float = 1.0

    def __post_init__(self) -> None:
        require(self, lambda: self.decay >= 0, "a decay of at least 0")

    def __call__(self, ask: Ask, here: Here) -> Ask:
        def asked(x: Tensor, dice: Dice) -> Answer:
            grad, memory = ask(x, dice)
            velocity = self.decay * memory.velocity + unit(grad)
            return Answer(velocity, memory._replace(velocity=velocity))

        return asked


@dataclass(frozen=True)
class Nesterov(Change):
    """The gradient is taken ahead, at x + step * decay * velocity (Lin et al. 2020, arXiv:1908.06281, equation 6).

    Where we differ: outside Linf, where the paper has no formula, the velocity is scaled so that a velocity made of one
    gradient looks one step ahead.
    """

    moves: ClassVar[bool] = True

    def __call__(self, ask: Ask, here: Here) -> Ask:
        def asked(x: Tensor, dice: Dice) -> Answer:
            region, velocity = cast(Any, here.bout.region), here.memory.velocity
            length = here.share * here.decay * region.radius.to(x.dtype) * mean_size(region.steepest(velocity))
            return ask(x + wide(length, x) * velocity, dice)

        return asked


@dataclass(frozen=True)
class Variance(Change):
    """Adds by how much the gradients around the last point differed from its own (VMI: Wang, He 2021, arXiv:2103.15571, equation 7).

    neighbours: points asked about around each. reach: how far they lie, as a share of the region.
    Where we differ: neighbours are drawn from the region, whose every coordinate then gets a random sign; in Linf, away from the
    edge of the box, that is the uniform draw of the paper.
    """

    neighbours: int = 20
    reach: float = 1.5
    moves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self, lambda: self.neighbours >= 1 and self.reach >= 0, "at least one neighbour and a reach of at least 0")

    def __call__(self, ask: Ask, here: Here) -> Ask:
        def asked(x: Tensor, dice: Dice) -> Answer:
            region, answer = cast(Any, here.bout.region), ask(x, dice)
            total = torch.zeros_like(x)
            for turn in range(self.neighbours):
                own = dice.draw(f"neighbour {turn}")
                signs = own.draw("sign").signs(*x.shape[1:], dtype=x.dtype)  # else a pixel at the edge of the box would move one way only
                total += ask(x + self.reach * signs * (region.sample(own.draw("place")) - region.origin), own).grad
            variance = total / self.neighbours - answer.grad
            return Answer(answer.grad + here.memory.variance, answer.memory._replace(variance=variance))

        return asked


@dataclass(frozen=True)
class Mixing(Change):
    """The mean gradient over points with a share of an image of another class mixed in (Admix: Wang et al. 2021, arXiv:2102.00436).

    images_mixed: images drawn per point. share: of the image that is mixed in. The paper's Admix is `admix+si`.
    Where we differ: images come from a fixed pool, drawn for every sample by itself; in the official code they come
    from the other samples of the batch, so that a result depends on its neighbours.
    """

    images_mixed: int = 3
    share: float = 0.2
    moves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self, lambda: self.images_mixed >= 1 and self.share >= 0, "at least one image and a share of at least 0")

    def __call__(self, ask: Ask, here: Here) -> Ask:
        pool = cast(Pool, here.pool)

        def asked(x: Tensor, dice: Dice) -> Answer:
            total = torch.zeros_like(x)
            for turn in range(self.images_mixed):
                own = dice.draw(f"mixed {turn}")
                chosen = other_image(pool.y, here.bout.reference.label, own.draw("which"))
                total += ask(x + self.share * pool.x.to(x)[chosen], own).grad
            return Answer(total / self.images_mixed, here.memory)

        return asked


def other_image(classes: Tensor, label: Tensor, dice: Dice) -> Tensor:
    """int64 [m]: for every row the place of a random image of the pool whose class is not the row's."""
    other = classes.to(label.device)[None, :] != label[:, None]
    count = other.sum(1)
    if not bool((count > 0).all()):
        raise InputError(f"all images of the pool are of class {int(label[count == 0][0])}: give a pool of several classes")
    wanted = dice.integers(count, 1).squeeze(1)
    return ((other.cumsum(1) == wanted[:, None] + 1) & other).to(torch.int8).argmax(1)


@dataclass(frozen=True)
class Scales(Change):
    """The mean gradient over copies x / 2^i, i = 0 ... copies - 1 (SI: Lin et al. 2020, arXiv:1908.06281, equation 8)."""

    copies: int = 5
    moves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self, lambda: self.copies >= 1, "at least one copy")

    def __call__(self, ask: Ask, here: Here) -> Ask:
        def asked(x: Tensor, dice: Dice) -> Answer:
            total = torch.zeros_like(x)
            for turn in range(self.copies):
                total += ask(x / 2**turn, dice.draw(f"scale {turn}")).grad / 2**turn  # by the chain rule
            return Answer(total / self.copies, here.memory)

        return asked


def compose(changes: Sequence[Change], ask: Ask, here: Here) -> Ask:
    """All changes around one question, the first outermost."""
    for change in reversed(changes):
        ask = change(ask, here)
    return ask


def names() -> dict[str, type[Change]]:
    """The changes by their names in a plan, in the order in which they lie around the question, outermost first.

    The velocity gathers what all the others gave; the place looked at is chosen before neighbours, images and scales
    are; the transformation of an image is the last thing before the network, and smoothing undoes its jitter.
    """
    from sparring.attacks.evasion.transfer.diversity import Diversity
    from sparring.attacks.evasion.transfer.skip import SkipDecay
    from sparring.attacks.evasion.transfer.translation import Translation

    return {
        "mi": Momentum, "ni": Nesterov, "vmi": Variance, "ti": Translation,
        "admix": Mixing, "si": Scales, "di": Diversity, "sgm": SkipDecay,
    }  # fmt: skip


def name_of(change: Change) -> str:
    """Its name in a plan."""
    return next(name for name, kind in names().items() if type(change) is kind)


def read_changes(written: str) -> tuple[Change, ...]:
    """The changes written as `mi+di(chance=0.7)+ti`, outermost first; in whatever order they are written they are the same.

    Nothing, or "none", is the plain gradient. Raises UnknownName or PlanError.

    >>> [type(change).__name__ for change in read_changes("ti+mi(decay=0.9)")]
    ['Momentum', 'Translation']
    """
    known, found = names(), {}
    for part in "" if written.strip() == "none" else written.split("+"):
        if not part.strip():
            continue
        name, settings = _read(part.strip(), written)
        if name not in known:
            raise UnknownName("change of the gradient", name, known)
        if name in found:
            raise PlanError(f"changes={written!r}: {name} stands twice")
        for setting in settings:
            if setting not in (own := [field.name for field in dataclasses.fields(cast(Any, known[name]))]):
                raise UnknownName(f"setting of {name}", setting, own)
        found[name] = known[name](**settings)
    if "ni" in found and "mi" not in found:
        raise PlanError(f"changes={written!r}: ni looks ahead along the velocity of mi: write mi+ni")
    return tuple(found[name] for name in known if name in found)


def _read(part: str, written: str) -> tuple[str, dict[str, Any]]:
    """(name, settings) of one part."""
    try:
        tree = ast.parse(part, mode="eval").body
        if isinstance(tree, ast.Name):
            return tree.id, {}
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.args:
            return tree.func.id, {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in tree.keywords}
    except (SyntaxError, ValueError):
        pass
    raise PlanError(f"changes={written!r}: cannot read {part!r}: write names with + between, mi+di(chance=0.7)+ti")


def require(change: Any, good: Callable[[], bool], needed: str) -> None:
    """PlanError where a setting is of the wrong kind or cannot be."""
    for field in dataclasses.fields(change):
        value, default = getattr(change, field.name), field.default
        whole = isinstance(default, int)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise PlanError(f"{type(change).__name__}({field.name}={value!r}): give a {'whole ' if whole else ''}number, the default is {default!r}")
    if not good():
        raise PlanError(f"{change}: needs {needed}")


def unit(g: Tensor) -> Tensor:
    """Each row with a mean absolute value of 1; zeros stay zeros."""
    return g / wide(mean_size(g).clamp_min(torch.finfo(g.dtype).tiny), g)


def mean_size(g: Tensor) -> Tensor:
    """[m]: the mean absolute value of each row."""
    return g.abs().flatten(1).mean(1)


def wide(values: Tensor, like: Tensor) -> Tensor:
    """[m] to [m, 1, ...] with as many axes as `like`."""
    return values.reshape(-1, *[1] * (like.ndim - 1))
