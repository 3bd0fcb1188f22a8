"""Differential evolution: of few pixels (the one-pixel attack), and of all numbers at once (the threshold attack)."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.query.crowd import ask_crowd
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem
from sparring.core.rng import Rng
from sparring.threats.sparse import pixels

WEIGHT = 0.5
"""F of differential evolution: how much of a difference is added (section 3.2)."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    genes: [m, population, genes], in [0, 1]. values: float64 [m, population], the margins of the points they stand for.
    """

    genes: Tensor
    values: Tensor


@attack(needs={"scores"}, uses={"recolour"}, cites="Su, Vargas, Sakurai 2019, arXiv:1710.08864, section 3.2")
def one_pixel(problem: Problem, *, generations: int = 100, population: int = 400) -> Tensor:
    """Evolve the places and colours of as many pixels as may change, by differential evolution.

    Args:
        generations: After the first.
        population: Candidates of a sample; each generation asks one child of every one.

    Source: Su, Vargas, Sakurai 2019, arXiv:1710.08864, section 3.2.

    Differs from the paper: genes are shares of the image's side and of the range of colours, and one that leaves [0, 1] is
    folded back; colours begin uniform (in the paper Gaussian around the middle); fitness is the margin, the paper's
    the probability of a class.
    """

    def place(live: Problem, genes: Tensor) -> Tensor:
        channels, places = pixels(live.x).shape[1:]
        each = genes.reshape(len(genes), -1, 2 + channels)
        height, width = live.x.shape[2:] if live.x.ndim == 4 else (1, places)
        down, right = ((each[:, :, axis] * side).long().clamp(max=side - 1) for axis, side in enumerate((height, width)))
        at, counts = down * width + right, torch.arange(each.shape[1], device=genes.device) < cast(Any, live.region).count[:, None]
        chosen = torch.zeros(len(genes), places, dtype=torch.bool, device=genes.device)
        shares = torch.zeros(len(genes), channels, places, dtype=genes.dtype, device=genes.device)
        for pixel in range(each.shape[1]):
            one = torch.zeros_like(chosen).scatter(1, at[:, pixel : pixel + 1], counts[:, pixel : pixel + 1])
            chosen |= one
            shares = torch.where(one[:, None], each[:, pixel, 2:, None], shares)
        return cast(Any, live.region).recolour(chosen, shares)

    channels, places = pixels(problem.x).shape[1:]
    most = min(int(cast(Any, problem.region).count.amax()), places) if len(problem) else 0
    return evolve(problem, generations, population, [2 + channels] * max(most, 1), place)


@attack(needs={"scores"}, uses={"paint"}, cites="Vargas, Kotyan 2019, arXiv:1906.06026, threshold attack; differential evolution: Storn, Price 1997")
def threshold(problem: Problem, *, generations: int = 100, population: int = 400) -> Tensor:
    """Evolve all numbers of the input within their Linf intervals, by differential evolution.

    Args:
        generations: After the first.
        population: Candidates of a sample; each generation asks one child of every one.

    Source: Vargas, Kotyan 2019, arXiv:1906.06026, threshold attack; differential evolution: Storn, Price 1997.

    Differs from the paper: a gene that leaves its interval is folded back; nothing is crossed, as in the one-pixel attack.
    """

    def place(live: Problem, genes: Tensor) -> Tensor:
        signs = torch.ones_like(live.x)
        low, high = cast(Any, live.region).paint(-signs), cast(Any, live.region).paint(signs)
        return torch.minimum(torch.maximum(low + (high - low) * genes.reshape(low.shape).to(low.dtype), low), high)

    return evolve(problem, generations, population, [problem.x[0].numel() if len(problem) else 1], place)


def evolve(problem: Problem, generations: int, population: int, blocks: list[int], place: Callable[[Problem, Tensor], Tensor]) -> Tensor:
    """Run DE/rand/1 without crossing.

    Args:
        blocks: Numbers of genes, drawn block by block, so that a sample with fewer of them draws the same as beside one
            with more.
        place: Genes [k, g] of the rows of a problem -> points.
    """
    count, width = max(population, 1), sum(blocks)

    def first(rng: Rng, one: int) -> Tensor:
        drawn = rng.draw(f"first {one}")
        return torch.cat([drawn.draw(block).uniform(size) for block, size in enumerate(blocks)], 1)

    def asked(live: Problem, genes: Tensor) -> Tensor:
        def points(some: Problem, rows: Tensor, turns: range) -> Tensor:
            return torch.stack([place(some, genes[rows, turn]) for turn in turns], 1)

        return ask_crowd(live, count, points).nan_to_num(-torch.inf)

    def start(live: Problem, restart: int) -> State:
        genes = torch.stack([first(live.rng, one) for one in range(count)], 1)
        return State(genes, asked(live, genes))

    def step(live: Problem, state: State, k: int) -> State:
        uniform = live.rng.draw(f"generation {k}").uniform(3, count, dtype=torch.float64)
        self_ = torch.arange(count, device=uniform.device)
        base, plus = (((self_ + 1 + (uniform[:, turn] * (count - 1)).long()) % count) for turn in (0, 1))
        minus = (plus + 1 + (uniform[:, 2] * (count - 1)).long()) % count
        one, two, three = (state.genes.gather(1, chosen[:, :, None].expand(-1, -1, width)) for chosen in (base, plus, minus))
        moved = one + WEIGHT * (two - three)
        moved = 1 - (1 - moved.abs()).abs()  # reflected at 0 and at 1: differences exceed these bounds by at most half a unit
        values = asked(live, moved)
        better = values >= state.values
        return State(torch.where(better[:, :, None], moved, state.genes), torch.where(better, values, state.values))

    return iterate(problem, start, step, steps=generations)
