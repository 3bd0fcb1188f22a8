"""Counterexamples: descent on the margin of a question from corners and random points, float64, confirmed before anyone says "refuted"."""

import math

import torch
from torch import Tensor

from sparring.certification.bounds.inputs import InputSet
from sparring.certification.docket import Docket
from sparring.certification.question import Question
from sparring.certification.rung import rung
from sparring.core.dice import Dice


@rung("attack", order=5, cites="Madry et al. 2018, arXiv:1706.06083, on the margin of the question")
def attack(docket: Docket, *, steps: int = 30, restarts: int = 4) -> None:
    """From the middle, then from random points of the set, against all clauses in turn."""
    if len(docket):
        starts = starting_points(docket.question, docket.places, restarts, docket.seed)
        docket.refute(descend(docket.question, starts, steps))


def starting_points(question: Question, keys: Tensor, restarts: int, seed: int) -> Tensor:
    """[n, restarts, *in]: the middle of each set, then random points of it, drawn by seed and key."""
    inputs = question.inputs
    dice = Dice.of(seed, [str(key) for key in keys.tolist()], keys.device)
    points = [inputs.middle]
    for turn in range(1, restarts):
        share = dice.draw(turn).uniform(*question.network.input_shape, dtype=torch.float64)
        points.append(brought_inside(inputs, inputs.low + (inputs.high - inputs.low) * share))
    return torch.stack(points, 1)


def descend(question: Question, starts: Tensor, steps: int) -> Tensor:
    """[n, k, *in]: the points with the least margin on the way from each start [n, k, *in]; every start has a clause of its own to
    go for, in turn by how near the clauses are at it. Signed steps that shrink from half of each side to a hundredth of it."""
    count, tries = starts.shape[:2]
    rows = torch.arange(count, device=starts.device).repeat_interleave(tries)
    repeated = question.take(rows)
    inputs, x = repeated.inputs, starts.flatten(0, 1)
    half = (inputs.high - inputs.low) / 2
    turn = torch.arange(tries, device=starts.device).repeat(count)
    best, least = x.clone(), torch.full((len(x),), math.inf, dtype=x.dtype, device=x.device)
    for step in range(steps + 1):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            values = repeated.at(x)
            (g,) = torch.autograd.grad(_aim(repeated, values, turn).sum(), x)
        margin = repeated.margin(values.detach())
        better = margin < least
        best[better], least = x.detach()[better], torch.minimum(margin, least)
        if step == steps or bool((least <= 0).reshape(count, tries).any(1).all()):
            break
        length = 0.5 * (0.02 ** (step / max(1, steps - 1)))
        x = brought_inside(inputs, x.detach() - g.sign() * half * length * 2)
    return best.reshape(count, tries, *starts.shape[2:])


def _aim(question: Question, values: Tensor, turn: Tensor) -> Tensor:
    """[n]: what each start goes down on: within a clause its greatest row, of the clauses the `turn`-th nearest."""
    if question.one_row_each:
        ranked = values.sort(dim=1).values
        return ranked.gather(1, (turn % values.shape[1])[:, None]).squeeze(1)
    clause = question.clause.where(question.clause >= 0, question.clauses)
    best = values.new_full((len(values), question.clauses + 1), -math.inf).scatter_reduce(1, clause, values, "amax")[:, : question.clauses]
    best = torch.where(torch.isfinite(best), best, math.inf)
    ranked, places = best.sort(dim=1)
    real = torch.isfinite(ranked).sum(1).clamp_min(1)
    chosen = places.gather(1, (turn % real)[:, None])
    return torch.where(question.clause == chosen, values, -math.inf).amax(1)


def brought_inside(inputs: InputSet, x: Tensor) -> Tensor:
    """Points of the sets: into the box, and where there is a ball, straight toward its centre until they are in it."""
    x = torch.minimum(torch.maximum(x, inputs.low), inputs.high)
    if inputs.center is None or inputs.radius is None:
        return x
    way = x - inputs.center
    size = torch.linalg.vector_norm(way.flatten(1), ord=inputs.order, dim=1)
    share = (inputs.radius * (1 - 1e-12) / size.clamp_min(1e-300)).clamp_max(1.0)
    return inputs.center + way * share.reshape(-1, *[1] * (way.ndim - 1))
