"""SimBA: try one vector of an orthonormal basis after the other, forward and then backward."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.ascent import along
from sparring.attacks.evasion.query.square import layout
from sparring.attacks.loop import climb
from sparring.core.bout import Bout
from sparring.core.dice import Dice


class State(NamedTuple):
    """x: [m, ...], the best point. margin: [m], how far it is past the goal. order: int64 [m, d], the basis vectors in turn."""

    x: Tensor
    margin: Tensor
    order: Tensor


@attack(needs={"scores"}, uses={"ascend", "project"}, cites="Guo et al. 2019, arXiv:1905.07121, algorithm 1; github.com/cg563/simple-blackbox-attack")
def simba(bout: Bout, *, steps: int = 5000, step_size: float = 0.5, basis: Literal["pixel", "dct"] = "pixel", frequencies: float = 0.125) -> Tensor:
    """Coordinate search in a random order: a step along a basis vector, else one against it, kept where the margin grew.

    steps: basis vectors tried; each costs one or two queries. When all were tried they come again in another order.
    step_size: as a share of the radius. basis: "pixel", single numbers, or "dct", cosine waves. frequencies: of the
    waves, the share of the side that comes first; higher ones follow ring by ring.

    Where we differ: each step ends in the region of the threat, by its own steepest step and projection (in the
    paper the steps are Euclidean and nothing bounds their sum but their number), and the step is a share of the
    radius where the paper's is 0.2 in the units of the image; smaller ones broke fewer MNIST images in 1,000 queries.
    """
    channels, height, width = layout(bout.x)

    def start(live: Bout, restart: int) -> State:
        return State(live.x, live.margins(live.x), _order(live.dice.draw("order 0"), basis, frequencies, channels, height, width))

    def step(live: Bout, state: State, k: int) -> State:
        turn, order = k % state.order.shape[1], state.order
        if k and turn == 0:
            order = _order(live.dice.draw(f"order {k}"), basis, frequencies, channels, height, width)
        way = _vector(order[:, turn], basis, channels, height, width, live.x)
        x, margin = state.x, state.margin
        for sign in (1, -1):
            rows = ((margin == state.margin) & live.unfinished()).nonzero().squeeze(1)
            if not len(rows):
                break
            some = live.take(rows)
            tried = along(some, state.x[rows], sign * way[rows], step_size)
            answer = some.margins(tried).to(margin.dtype)  # without any answer the type is not the victim's
            moved = (tried != state.x[rows]).flatten(1).any(1)  # else a rounding of the same answer would pass for a gain
            better = moved & (answer - state.margin[rows] > 8 * torch.finfo(answer.dtype).eps * answer.abs())
            x, margin = x.index_copy(0, rows[better], tried[better]), margin.index_copy(0, rows[better], answer[better])
        return State(x, margin, order)

    return climb(bout, start, step, steps=steps)


def _order(dice: Dice, basis: str, frequencies: float, channels: int, height: int, width: int) -> Tensor:
    """int64 [n, d]: a random order of the basis; of waves, low frequencies first."""
    luck = dice.uniform(channels * height * width, dtype=torch.float64)
    if basis == "dct":
        down, right = (torch.arange(length, device=luck.device) // max(math.ceil(frequencies * length), 1) for length in (height, width))
        luck = luck + torch.maximum(down[:, None], right[None, :]).expand(channels, -1, -1).flatten()
    return luck.argsort(1)


def _vector(places: Tensor, basis: str, channels: int, height: int, width: int, like: Tensor) -> Tensor:
    """Basis vectors (int64 [n], by place in channels x height x width) as points shaped like x."""
    if basis == "pixel":
        flat = torch.zeros(len(places), channels * height * width, dtype=like.dtype, device=like.device)
        return flat.scatter(1, places[:, None], 1.0).reshape(like.shape)
    down, right = _wave(places // width % height, height), _wave(places % width, width)
    waves = down[:, None, :, None] * right[:, None, None, :]
    one = torch.arange(channels, device=places.device) == (places // (height * width))[:, None]
    return (waves * one[:, :, None, None]).to(like.dtype).reshape(like.shape)


def _wave(frequency: Tensor, length: int) -> Tensor:
    """float64 [n, length]: vectors of the orthonormal DCT-II."""
    at = torch.arange(length, dtype=torch.float64, device=frequency.device) + 0.5
    scale = torch.where(frequency == 0, 1 / math.sqrt(length), math.sqrt(2 / length))
    return scale[:, None] * torch.cos(math.pi / length * at * frequency[:, None])
