"""SignHunter: find the signs of the gradient by turning over halves, quarters, eighths ... of them."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.loop import climb
from sparring.core.bout import Bout


class State(NamedTuple):
    """signs: [m, d], +1 or -1. margin: [m], of the point they lead to."""

    signs: Tensor
    margin: Tensor


@attack(
    needs={"scores"},
    uses={"project", "ascend"},
    cites="Al-Dujaili, O'Reilly 2020, arXiv:1902.06894, algorithm 1; github.com/ash-aldujaili/blackbox-adv-examples-signhunter",
)
def signhunter(bout: Bout, *, queries: int = 5000) -> Tensor:
    """Divide and conquer over a vector of signs: turn over one part, keep it if the margin grew.

    queries: per sample. The parts are the whole, its halves, quarters and so on down to single numbers; then all again.
    The point is as far from the clean input as the region allows in the direction of the signs. Made for Linf and L2.

    Where we differ: parts are cut from the numbers in their order, channel by channel, as in the paper; a part whose
    turn would change nothing inside the bounds is asked all the same, so that all samples spend alike.
    """
    parts = _parts(bout.x[0].numel() if len(bout) else 1)

    def start(live: Bout, restart: int) -> State:
        signs = torch.ones_like(live.x).flatten(1)
        return State(signs, live.margins(_point(live, signs)))

    def step(live: Bout, state: State, k: int) -> State:
        first, last = parts[k % len(parts)]
        signs = state.signs.clone()
        signs[:, first:last] *= -1
        margin = live.margins(_point(live, signs))
        better = margin - state.margin > 8 * torch.finfo(margin.dtype).eps * margin.abs()  # else a rounding would pass for a gain
        return State(torch.where(better[:, None], signs, state.signs), torch.where(better, margin, state.margin))

    return climb(bout, start, step, steps=max(queries - 1, 0))


def _point(bout: Bout, signs: Tensor) -> Tensor:
    """The allowed point nearest to the clean input moved by the radius in every number."""
    reach = cast(Any, bout.region).radius.to(bout.x.dtype).reshape(-1, *[1] * (bout.x.ndim - 1))
    return cast(Any, bout.region).project(bout.x + reach * signs.reshape(bout.x.shape))


def _parts(count: int) -> list[tuple[int, int]]:
    """[first, last) of the whole, the halves, the quarters ... and the single numbers."""
    parts, size = [(0, count)], count
    while size > 1:
        size = -(-size // 2)
        parts += [(first, min(first + size, count)) for first in range(0, count, size)]
    return parts
