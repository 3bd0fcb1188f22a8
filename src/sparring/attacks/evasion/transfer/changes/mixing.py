"""Admix: gradients at points with a share of an image of another class mixed in."""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from sparring.attacks.evasion.transfer.change import Answer, Ask, Change, Here, Pool, require
from sparring.core.errors import InputError
from sparring.core.registry import register
from sparring.core.rng import Rng
from sparring.tasks.classes import of_classes


@register("change", "admix")
@dataclass(frozen=True)
class Mixing(Change):
    """Average gradients over points with a share of an image of another class mixed in.

    Admix: Wang et al. 2021, arXiv:2102.00436.

    images_mixed: images drawn per point. share: of the image that is mixed in. The paper's Admix is `admix+si`.
    Differs from the paper: images come from a fixed pool, drawn for every sample by itself; in the official code they come
    from the other samples of the batch, so that a result depends on its neighbours.
    """

    images_mixed: int = 3
    share: float = 0.2
    order: ClassVar[int] = 50
    cites: ClassVar[str] = "Wang et al. 2021, arXiv:2102.00436"
    moves: ClassVar[bool] = True
    mixes: ClassVar[bool] = True
    tasks: ClassVar[frozenset[str]] = frozenset({"classes"})

    def __post_init__(self) -> None:
        require(self, lambda: self.images_mixed >= 1 and self.share >= 0, "at least one image and a share of at least 0")

    def __call__(self, ask: Ask, here: Here) -> Ask:
        pool = cast(Pool, here.pool)

        def asked(x: Tensor, rng: Rng) -> Answer:
            total = torch.zeros_like(x)
            for turn in range(self.images_mixed):
                own = rng.draw(f"mixed {turn}")
                chosen = other_image(pool.y, of_classes(here.problem.criterion).label, own.draw("which"))
                total += ask(x + self.share * pool.x.to(x)[chosen], own).grad
            return Answer(total / self.images_mixed, here.memory)

        return asked


def other_image(classes: Tensor, label: Tensor, rng: Rng) -> Tensor:
    """Draw for every row a random image of the pool of another class, as its place int64 [m]."""
    other = classes.to(label.device)[None, :] != label[:, None]
    count = other.sum(1)
    if not bool((count > 0).all()):
        raise InputError(f"all images of the pool are of class {int(label[count == 0][0])}: give a pool of several classes")
    wanted = rng.integers(count, 1).squeeze(1)
    return ((other.cumsum(1) == wanted[:, None] + 1) & other).to(torch.int8).argmax(1)
