"""Differential evolution: of few pixels (the one-pixel attack), and of all numbers at once (the threshold attack)."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.query.crowd import ask_crowd
from sparring.attacks.loop import climb
from sparring.core.bout import Bout
from sparring.core.dice import Dice
from sparring.threats.sparse import pixels

WEIGHT = 0.5
"""F of differential evolution: how much of a difference is added (section 3.2)."""


class State(NamedTuple):
    """genes: [m, population, genes], in [0, 1]. values: float64 [m, population], the margins of the points they stand for."""

    genes: Tensor
    values: Tensor


@attack(needs={"scores"}, uses={"recolour"}, cites="Su, Vargas, Sakurai 2019, arXiv:1710.08864, section 3.2")
def one_pixel(bout: Bout, *, generations: int = 100, population: int = 400) -> Tensor:
    """Differential evolution over the places and colours of as many pixels as may change.

    generations: after the first. population: candidates of a sample; each generation asks one child of every one.

    Where we differ: genes are shares of the image's side and of the range of colours, and one that leaves [0, 1] is
    folded back; colours begin uniform (in the paper Gaussian around the middle); fitness is the margin, the paper's
    the probability of a class.
    """

    def place(live: Bout, genes: Tensor) -> Tensor:
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

    channels, places = pixels(bout.x).shape[1:]
    most = min(int(cast(Any, bout.region).count.amax()), places) if len(bout) else 0
    return evolve(bout, generations, population, [2 + channels] * max(most, 1), place)


@attack(needs={"scores"}, uses={"paint"}, cites="Vargas, Kotyan 2019, arXiv:1906.06026, threshold attack; differential evolution: Storn, Price 1997")
def threshold(bout: Bout, *, generations: int = 100, population: int = 400) -> Tensor:
    """Differential evolution over all numbers of the input at once, each between the edges of its Linf interval.

    generations: after the first. population: candidates of a sample; each generation asks one child of every one.

    Where we differ: a gene that leaves its interval is folded back; nothing is crossed, as in the one-pixel attack.
    """

    def place(live: Bout, genes: Tensor) -> Tensor:
        signs = torch.ones_like(live.x)
        low, high = cast(Any, live.region).paint(-signs), cast(Any, live.region).paint(signs)
        return torch.minimum(torch.maximum(low + (high - low) * genes.reshape(low.shape).to(low.dtype), low), high)

    return evolve(bout, generations, population, [bout.x[0].numel() if len(bout) else 1], place)


def evolve(bout: Bout, generations: int, population: int, blocks: list[int], place: Callable[[Bout, Tensor], Tensor]) -> Tensor:
    """DE/rand/1 without crossing. blocks: numbers of genes, drawn block by block, so that a sample with fewer of them
    draws the same as beside one with more. place: genes [k, g] of the rows of a bout -> points."""
    count, width = max(population, 1), sum(blocks)

    def first(dice: Dice, one: int) -> Tensor:
        drawn = dice.draw(f"first {one}")
        return torch.cat([drawn.draw(block).uniform(size) for block, size in enumerate(blocks)], 1)

    def asked(live: Bout, genes: Tensor) -> Tensor:
        def points(some: Bout, rows: Tensor, turns: range) -> Tensor:
            return torch.stack([place(some, genes[rows, turn]) for turn in turns], 1)

        return ask_crowd(live, count, points).nan_to_num(-torch.inf)

    def start(live: Bout, restart: int) -> State:
        genes = torch.stack([first(live.dice, one) for one in range(count)], 1)
        return State(genes, asked(live, genes))

    def step(live: Bout, state: State, k: int) -> State:
        luck = live.dice.draw(f"generation {k}").uniform(3, count, dtype=torch.float64)
        self_ = torch.arange(count, device=luck.device)
        base, plus = (((self_ + 1 + (luck[:, turn] * (count - 1)).long()) % count) for turn in (0, 1))
        minus = (plus + 1 + (luck[:, 2] * (count - 1)).long()) % count
        one, two, three = (state.genes.gather(1, chosen[:, :, None].expand(-1, -1, width)) for chosen in (base, plus, minus))
        moved = one + WEIGHT * (two - three)
        moved = 1 - (1 - moved.abs()).abs()  # folded at 0 and at 1: differences reach no further than half a unit out
        values = asked(live, moved)
        better = values >= state.values
        return State(torch.where(better[:, :, None], moved, state.genes), torch.where(better, values, state.values))

    return climb(bout, start, step, steps=generations)
