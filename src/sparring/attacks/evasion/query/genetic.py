"""GenAttack: a small population of points, bred by crossing and mutation."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.query.crowd import ask_crowd
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem
from sparring.core.space import wide

PATIENCE = 100
"""Generations without a better point after which mutation gets gentler (the official code's)."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    points: [m, population, ...]. values: float64 [m, population], their margins. best: float64 [m], the highest so far.
    waited: int64 [m], generations since it rose. plateaus: int64 [m], how often that was too long.
    """

    points: Tensor
    values: Tensor
    best: Tensor
    waited: Tensor
    plateaus: Tensor


@attack(
    needs={"scores"}, uses={"sample", "project"}, cites="Alzantot et al. 2019, arXiv:1805.11090, algorithm 1, section 4; github.com/nesl/adversarial_genattack"
)
def genetic(problem: Problem, *, generations: int = 500, population: int = 6, rate: float = 0.5, reach: float = 0.4) -> Tensor:
    """Breed a small population of points by crossing and mutation, and keep the best.

    Parents are drawn by fitness.

    Args:
        generations: After the first.
        population: Points of a sample; each generation asks all but one anew.
        rate: Share of the numbers that mutate at first.
        reach: How far they go at first, as a share of the way to a random point of the region. Both fall by a tenth
            whenever the best point stood still for 100 generations.

    Source: Alzantot et al. 2019, arXiv:1805.11090, algorithm 1, section 4; github.com/nesl/adversarial_genattack.

    Differs from the paper: fitness is the margin, ranked by a softmax over its spread in the population (the paper: logs of
    probabilities, at a temperature of its own); a mutation goes toward a random point of the region, so that it suits
    any space, where the paper adds uniform noise in Linf; the reduced dimension is left out.
    """
    count = max(population, 1)

    def start(live: Problem, restart: int) -> State:
        first = torch.stack([cast(Any, live.region).sample(live.rng.draw(f"first {one}")) for one in range(count)], 1)
        values = ask_crowd(live, count, lambda some, rows, turns: first[rows][:, turns.start : turns.stop]).nan_to_num(-torch.inf)
        zeros = torch.zeros(len(live), dtype=torch.int64, device=live.rows.device)
        return State(first, values, values.amax(1), zeros, zeros)

    def step(live: Problem, state: State, k: int) -> State:
        rng, rows = live.rng.draw(f"generation {k}"), torch.arange(len(live), device=live.rows.device)
        gentle = 0.9 ** state.plateaus.double()
        elite = state.points[rows, state.values.argmax(1)]
        chance = torch.softmax(_standing(state.values), 1)
        children = []
        for child in range(1, count):
            drawn = rng.draw(child)
            mother, father = (_drawn(chance, drawn.draw(name).uniform(1, dtype=torch.float64)) for name in ("mother", "father"))
            share = chance[rows, mother] / (chance[rows, mother] + chance[rows, father])
            crossed = torch.where(
                drawn.draw("crossing").uniform(*live.x.shape[1:], dtype=torch.float64) < wide(share, live.x),
                state.points[rows, mother],
                state.points[rows, father],
            )
            mutates = drawn.draw("mutation").uniform(*live.x.shape[1:], dtype=torch.float64) < wide((rate * gentle).clamp_min(0.1 * rate), live.x)
            length = wide((reach * gentle).clamp_min(0.375 * reach), live.x).to(live.x.dtype)
            goal = cast(Any, live.region).sample(drawn.draw("goal"))
            children.append(cast(Any, live.region).project(torch.where(mutates, crossed + length * (goal - live.x), crossed)))
        points = torch.stack([elite, *children], 1)
        asked = ask_crowd(live, count - 1, lambda some, rows, turns: points[rows][:, turns.start + 1 : turns.stop + 1]).nan_to_num(-torch.inf)
        values = torch.cat([state.values.amax(1, keepdim=True), asked], 1)
        rose = values.amax(1) > state.best
        waited = torch.where(rose, 0, state.waited + 1)
        tired = waited >= PATIENCE
        return State(points, values, values.amax(1), torch.where(tired, 0, waited), state.plateaus + tired.long())

    return iterate(problem, start, step, steps=generations if count > 1 else 0)


def _standing(values: Tensor) -> Tensor:
    """Return standardised values, [m, k]; values without an answer are far below all others."""
    known = values.where(values.isfinite(), values.where(values.isfinite(), torch.inf).amin(1, keepdim=True)).nan_to_num(0.0, 0.0, 0.0)
    return (known - known.mean(1, keepdim=True)) / known.std(1, correction=0, keepdim=True).clamp_min(1e-12)


def _drawn(chance: Tensor, uniform: Tensor) -> Tensor:
    """Return one place per row, int64 [m], drawn with these probabilities [m, k]; luck [m, 1] is uniform in [0, 1)."""
    return (chance.cumsum(1) <= uniform).sum(1).clamp(max=chance.shape[1] - 1)
