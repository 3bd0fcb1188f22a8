"""SimBA: try one vector of an orthonormal basis after the other, forward and then backward."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.ascent import along
from sparring.attacks.evasion.query.square import layout
from sparring.attacks.loop import iterate
from sparring.attacks.losses import rises
from sparring.core.problem import Problem
from sparring.core.rng import Rng


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], the best point. loss: [m], how far it is past the goal. order: int64 [m, d], the basis vectors in turn.
    """

    x: Tensor
    loss: Tensor
    order: Tensor


@attack(needs={"scores"}, uses={"ascend", "project"}, cites="Guo et al. 2019, arXiv:1905.07121, algorithm 1; github.com/cg563/simple-blackbox-attack")
def simba(problem: Problem, *, steps: int = 5000, step_size: float = 0.5, basis: Literal["pixel", "dct"] = "pixel", frequencies: float = 0.125) -> Tensor:
    """Try a step along one basis vector after the other, then against it, in random order.

    A step is kept where the loss grew.

    Args:
        steps: Basis vectors tried; each costs one or two queries. When all were tried they come again in another order.
        step_size: As a share of the radius.
        basis: "pixel", single numbers, or "dct", cosine waves.
        frequencies: Of the waves, the share of the side that comes first; higher ones follow ring by ring.

    Source: Guo et al. 2019, arXiv:1905.07121, algorithm 1; github.com/cg563/simple-blackbox-attack.

    Differs from the paper: each step ends in the region of the threat, by its own steepest step and projection (in the
    paper the steps are Euclidean and nothing bounds their sum but their number), and the step is a share of the
    radius where the paper's is 0.2 in the units of the image; smaller ones broke fewer MNIST images in 1,000 queries.
    """
    channels, height, width = layout(problem.x)

    def start(live: Problem, restart: int) -> State:
        return State(live.x, live.losses(live.x), _order(live.rng.draw("order 0"), basis, frequencies, channels, height, width))

    def step(live: Problem, state: State, k: int) -> State:
        turn, order = k % state.order.shape[1], state.order
        if k and turn == 0:
            order = _order(live.rng.draw(f"order {k}"), basis, frequencies, channels, height, width)
        way = _vector(order[:, turn], basis, channels, height, width, live.x)
        x, loss = state.x, state.loss
        for sign in (1, -1):
            rows = ((loss == state.loss) & live.unfinished()).nonzero().squeeze(1)
            if not len(rows):
                break
            some = live.take(rows)
            tried = along(some, state.x[rows], sign * way[rows], step_size)
            answer = some.losses(tried).to(loss.dtype)  # without any answer the dtype is not that of the victim
            moved = (tried != state.x[rows]).flatten(1).any(1)  # otherwise a rounding error of the same answer would count as a gain
            better = moved & rises(answer, state.loss[rows])
            x, loss = x.index_copy(0, rows[better], tried[better]), loss.index_copy(0, rows[better], answer[better])
        return State(x, loss, order)

    return iterate(problem, start, step, steps=steps)


def _order(rng: Rng, basis: str, frequencies: float, channels: int, height: int, width: int) -> Tensor:
    """int64 [n, d]: a random order of the basis; of waves, low frequencies first."""
    uniform = rng.uniform(channels * height * width, dtype=torch.float64)
    if basis == "dct":
        down, right = (torch.arange(length, device=uniform.device) // max(math.ceil(frequencies * length), 1) for length in (height, width))
        uniform = uniform + torch.maximum(down[:, None], right[None, :]).expand(channels, -1, -1).flatten()
    return uniform.argsort(1)


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
