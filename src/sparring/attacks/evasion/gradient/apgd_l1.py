"""Auto-PGD for L1: sparse steps whose sparsity adapts, and a radius that shrinks to the requested one."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.apgd import aim_at
from sparring.attacks.evasion.gradient.ascent import averaged, nearest_classes
from sparring.attacks.loop import iterate
from sparring.attacks.losses import loss_of
from sparring.core.goal import Criterion
from sparring.core.problem import Loss, Problem
from sparring.core.space import wide
from sparring.tasks.classes import of_classes

CITES = "Croce, Hein 2021, arXiv:2103.01208, algorithm 1 and section 4; github.com/fra31/auto-attack"

RADII = (3.0, 2.0, 1.0)
"""Radii of the three phases, as multiples of the requested radius (section 4.3)."""
PHASES = (0.3, 0.3, 0.4)
"""Shares of the steps that the phases take."""
LEAST, LESS = 10.0, 1.5
"""A step is at least a tenth of the first; once the sparsity has settled, it is divided by 1.5 (algorithm 1)."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x, g: [m, ...], where each row stands and the gradient there; best...: of highest loss so far in this phase. share: part
    of the coordinates a step moves; length: of the step, as a share of the phase's radius; sparsity: changed coordinates of
    the best point at the last checkpoint; aim: what the loss is measured against.
    """

    x: Tensor
    g: Tensor
    best_x: Tensor
    best_g: Tensor
    best_value: Tensor
    share: Tensor
    length: Tensor
    sparsity: Tensor
    aim: Criterion


@attack(needs={"gradients", "scores"}, uses={"project", "sparse"}, cites=CITES)
def apgd_l1(problem: Problem, *, steps: int = 100, loss: str = "ce", restarts: int = 5, draws: int = 1) -> Tensor:
    """Run Auto-PGD in L1: sparse steps over three shrinking radii.

    Args:
        steps: Gradient steps of all phases together.
        loss: "ce" or "dlr" in the paper.
        restarts: For samples that still stand.
        draws: Gradients averaged at each step, for randomised models.

    Source: Croce, Hein 2021, arXiv:2103.01208, algorithm 1 and section 4; github.com/fra31/auto-attack.

    Differs from the paper: a sample that is broken inside the radius asked for stops, in whatever phase; the projection is exact.
    """
    return _phases(problem, loss_of(loss), lambda live, restart: live.criterion, steps, restarts, draws)


@attack(tasks={"classes"}, needs={"gradients", "scores"}, uses={"project", "sparse"}, cites=CITES)
def apgd_l1_t(problem: Problem, *, steps: int = 100, loss: str = "dlr", targets: int = 5, restarts: int = 1, draws: int = 1) -> Tensor:
    """Run Auto-PGD in L1 toward the `targets` highest wrong classes, one after the other.

    Args:
        steps: Gradient steps of all phases together, per target.
        loss: Any registered loss, measured against the target.
        targets: How many wrong classes, the highest of the clean input first.
        restarts: Per target, for samples that are not broken yet.
        draws: Gradients averaged at each step, for randomised models.

    Source: Croce, Hein 2021, arXiv:2103.01208, algorithm 1 and section 4; github.com/fra31/auto-attack.
    """
    if not of_classes(problem.criterion).untargeted:
        return _phases(problem, loss_of(loss), lambda live, restart: live.criterion, steps, restarts, draws)
    ranked = nearest_classes(problem, problem.x, "scores")[:, :targets]
    return _phases(problem, loss_of(loss), aim_at(problem, ranked), steps, ranked.shape[1] * restarts, draws)


def _phases(problem: Problem, loss: Loss, aim: Callable[[Problem, int], Criterion], steps: int, restarts: int, draws: int) -> Tensor:
    """Run the three phases of every restart; each phase begins at the projection of the best point of the previous one."""
    allowed = problem.steps(steps)
    counts = [math.ceil(share * allowed) for share in PHASES[:-1]]
    counts.append(max(allowed - sum(counts), 0))
    for restart in range(restarts):
        live = problem.take(problem.unfinished())
        if not len(live):
            break
        begun = live.x + live.rng.draw(restart).normal(*live.x.shape[1:], dtype=live.x.dtype)
        rows = live.rows
        for phase, count in zip(RADII, counts, strict=True):
            begun = _one_phase(live, begun, rows, phase, count, loss, aim, restart, draws)
    return problem.best()


def _one_phase(
    problem: Problem, begun: Tensor, rows: Tensor, phase: float, steps: int, loss: Loss, aim: Callable[[Problem, int], Criterion], restart: int, draws: int
) -> Tensor:
    """Return the best points of this phase for all rows of the restart; finished rows are unchanged."""
    enlarged = problem.at(problem.region.radius * phase) if phase != 1.0 else problem  # type: ignore[attr-defined]
    checkpoint, reached = max(int(0.04 * steps), 1), begun.clone()

    def start(live: Problem, _: int) -> State:
        places = torch.searchsorted(rows, live.rows)
        x = cast(Any, live.region).project(begun[places])
        target = aim(live, restart)
        graded = averaged(live, x, loss, target, draws)
        count = x[0].numel()
        changed = _changed(x, live.x)
        fresh = phase == RADII[0]
        share = torch.full_like(graded.value, 0.2) if fresh else changed / count / 1.5
        sparsity = torch.full_like(changed, float(count)) if fresh else changed
        return State(x, graded.grad, x, graded.grad, graded.value, share, torch.ones_like(graded.value), sparsity, target)

    def step(live: Problem, state: State, k: int) -> State:
        region = cast(Any, live.region)
        move = region.sparse(state.g, state.share) * wide(state.length * region.radius.to(state.x.dtype), state.x)
        x = region.project(state.x + move)
        graded = averaged(live, x, loss, state.aim, draws)
        better = graded.value > state.best_value
        state = state._replace(
            x=x,
            g=graded.grad,
            best_x=torch.where(wide(better, x), x, state.best_x),
            best_g=torch.where(wide(better, x), graded.grad, state.best_g),
            best_value=torch.where(better, graded.value, state.best_value),
        )
        reached[torch.searchsorted(rows, live.rows)] = state.best_x
        return _look(state, live.x) if (k + 1) % checkpoint == 0 else state

    iterate(enlarged, start, step, steps=steps)
    return reached


def _look(state: State, origin: Tensor) -> State:
    """Process a checkpoint: the share of coordinates follows the sparsity of the best point. While that still falls,
    start again from there with the longest step; otherwise shorten the step."""
    changed = _changed(state.best_x, origin)
    falls = changed / state.sparsity.clamp_min(1.0) < 0.95
    return state._replace(
        x=torch.where(wide(falls, origin), state.best_x, state.x),
        g=torch.where(wide(falls, origin), state.best_g, state.g),
        share=changed / origin[0].numel() / 1.5,
        length=torch.where(falls, 1.0, (state.length / LESS).clamp(1 / LEAST, 1.0)),
        sparsity=changed,
    )


def _changed(x: Tensor, origin: Tensor) -> Tensor:
    """Return the number of coordinates that differ, [m]."""
    return (x != origin).flatten(1).sum(1).to(x.dtype)
