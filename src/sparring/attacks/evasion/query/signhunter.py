"""SignHunter: find the signs of the gradient by flipping halves, quarters, eighths and so on."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.loop import iterate
from sparring.attacks.losses import rises
from sparring.core.problem import Problem


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    signs: [m, d], +1 or -1. loss: [m], of the point they lead to.
    """

    signs: Tensor
    loss: Tensor


@attack(
    needs={"scores"},
    uses={"project", "ascend"},
    cites="Al-Dujaili, O'Reilly 2020, arXiv:1902.06894, algorithm 1; github.com/ash-aldujaili/blackbox-adv-examples-signhunter",
)
def signhunter(problem: Problem, *, queries: int = 5000) -> Tensor:
    """Flip ever smaller parts of a vector of signs, and keep flips that raise the loss.

    Args:
        queries: Per sample. The parts are the whole, its halves, quarters and so on down to single numbers; then all
            again. The point is as far from the clean input as the region allows in the direction of the signs. Made for
            Linf and L2.

    Source: Al-Dujaili, O'Reilly 2020, arXiv:1902.06894, algorithm 1;
    github.com/ash-aldujaili/blackbox-adv-examples-signhunter.

    Differs from the paper: parts are cut from the numbers in their order, channel by channel, as in the paper; a part whose
    turn would change nothing inside the bounds is asked all the same, so that all samples spend alike.
    """
    parts = _parts(problem.x[0].numel() if len(problem) else 1)

    def start(live: Problem, restart: int) -> State:
        signs = torch.ones_like(live.x).flatten(1)
        return State(signs, live.losses(_point(live, signs)))

    def step(live: Problem, state: State, k: int) -> State:
        first, last = parts[k % len(parts)]
        signs = state.signs.clone()
        signs[:, first:last] *= -1
        loss = live.losses(_point(live, signs))
        better = rises(loss, state.loss)
        return State(torch.where(better[:, None], signs, state.signs), torch.where(better, loss, state.loss))

    return iterate(problem, start, step, steps=max(queries - 1, 0))


def _point(problem: Problem, signs: Tensor) -> Tensor:
    """Return the allowed point nearest to the clean input moved by the radius in every number."""
    reach = cast(Any, problem.region).radius.to(problem.x.dtype).reshape(-1, *[1] * (problem.x.ndim - 1))
    return cast(Any, problem.region).project(problem.x + reach * signs.reshape(problem.x.shape))


def _parts(count: int) -> list[tuple[int, int]]:
    """Yield [first, last) of the whole, the halves, the quarters and so on down to single numbers."""
    parts, size = [(0, count)], count
    while size > 1:
        size = -(-size // 2)
        parts += [(first, min(first + size, count)) for first in range(0, count, size)]
    return parts
