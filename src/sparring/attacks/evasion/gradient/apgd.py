"""Auto-PGD: projected gradient ascent with momentum that finds its step size by itself."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.ascent import Order, along, averaged, nearest_classes
from sparring.attacks.loop import iterate
from sparring.attacks.losses import loss_of
from sparring.core.goal import Criterion
from sparring.core.problem import Loss, Problem
from sparring.tasks.classes import ClassCriterion, of_classes

CITES = "Croce, Hein 2020, arXiv:2003.01690, algorithm 1; github.com/fra31/auto-attack"


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x, before: [m, ...], this iterate and the last; g: gradient at x; best...: of highest loss so far. share: step size as a
    share of the radius; value: loss at x; rises: steps that raised it since the last checkpoint; best_then: best loss at
    the last checkpoint; halved: did it halve the step there? aim: what the loss is measured against.
    """

    x: Tensor
    before: Tensor
    g: Tensor
    value: Tensor
    best_x: Tensor
    best_g: Tensor
    best_value: Tensor
    share: Tensor
    rises: Tensor
    best_then: Tensor
    halved: Tensor
    aim: Criterion


@attack(needs={"gradients", "scores"}, uses={"project", "ascend", "sample"}, cites=CITES)
def apgd(problem: Problem, *, steps: int = 100, loss: str = "ce", restarts: int = 1, draws: int = 1) -> Tensor:
    """Run Auto-PGD: ascend the loss with momentum and a step size that adapts itself.

    Args:
        steps: Gradient steps per restart.
        loss: "ce" or "dlr" in the paper; any registered one.
        restarts: For samples that still stand.
        draws: Gradients averaged at each step, for randomised models.

    Source: Croce, Hein 2020, arXiv:2003.01690, algorithm 1; github.com/fra31/auto-attack.

    Differs from the paper: a sample that is broken stops; the random start is uniform in the region, the original's is
    scaled to the surface of the ball; for L1 as the original does it see `apgd_l1`.
    """
    return ascend(problem, loss_of(loss), lambda live, restart: live.criterion, steps, restarts, draws)


@attack(tasks={"classes"}, needs={"gradients", "scores"}, uses={"project", "ascend", "sample"}, cites=CITES + ", section 4.1")
def apgd_t(
    problem: Problem, *, steps: int = 100, loss: str = "dlr", targets: int = 9, restarts: int = 1, order: Order = "scores", skip: int = 0, draws: int = 1
) -> Tensor:
    """Run Auto-PGD toward one wrong class after the other, the most promising first.

    Success is the goal of the threat: any wrong class counts when that is untargeted.

    Args:
        steps: Gradient steps per restart and target.
        loss: Any registered loss, measured against the target.
        targets: How many classes, after leaving out the first `skip`; with C classes there are at most C - 1.
        restarts: Per target.
        order: "scores", the highest of the clean input first, or "linearised", the nearest by the linearised model first
            (for one backward per class).
        skip: How many of the first classes are left out.
        draws: Gradients averaged at each step, for randomised models.

    Source: Croce, Hein 2020, arXiv:2003.01690, algorithm 1; github.com/fra31/auto-attack, section 4.1.
    """
    if not of_classes(problem.criterion).untargeted:
        return ascend(problem, loss_of(loss), lambda live, restart: live.criterion, steps, restarts, draws)
    ranked = nearest_classes(problem, problem.x, order)[:, skip : skip + targets]
    return ascend(problem, loss_of(loss), aim_at(problem, ranked), steps, ranked.shape[1] * restarts, draws)


def aim_at(problem: Problem, classes: Tensor) -> Callable[[Problem, int], Criterion]:
    """Return the criteria that a search over `problem` aims at in turn.

    Turn k aims at column k of classes (int64 [n, k]), round and round.
    """

    def aim(live: Problem, turn: int) -> ClassCriterion:
        target = classes[torch.searchsorted(problem.rows, live.rows), turn % classes.shape[1]]
        return ClassCriterion.reaching(of_classes(live.criterion).label, target)

    return aim


def checkpoints(steps: int) -> dict[int, int]:
    """Return the steps at which the step size is reviewed, with the length of the window before.

    This is equation 5.
    """
    window, least, less = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    found, at = {}, window
    while at <= steps:
        found[at] = window
        window = max(window - less, least)
        at += window
    return found


def ascend(problem: Problem, loss: Loss, aim: Callable[[Problem, int], Criterion], steps: int, restarts: int, draws: int = 1) -> Tensor:
    """Run algorithm 1 against the criterion that `aim(live problem, restart)` returns."""
    looks = checkpoints(problem.steps(steps))

    def start(live: Problem, restart: int) -> State:
        x, target = cast(Any, live.region).sample(live.rng.draw(restart)), aim(live, restart)
        graded = averaged(live, x, loss, target, draws)
        zeros = torch.zeros_like(graded.value)
        no, two = zeros.bool(), torch.full_like(zeros, 2.0)
        # "halved" begins as True: at the first checkpoint it is not known yet whether anything improved
        return State(x, x, graded.grad, graded.value, x, graded.grad, graded.value, two, zeros, graded.value, ~no, target)

    def step(live: Problem, state: State, k: int) -> State:
        z = along(live, state.x, state.g, state.share)
        weight = 0.75 if k else 1.0
        x = cast(Any, live.region).project(state.x + weight * (z - state.x) + (1 - weight) * (state.x - state.before))
        graded = averaged(live, x, loss, state.aim, draws)
        better = graded.value > state.best_value
        moved = state._replace(
            x=x,
            before=state.x,
            g=graded.grad,
            value=graded.value,
            best_x=_where(better, x, state.best_x),
            best_g=_where(better, graded.grad, state.best_g),
            best_value=torch.where(better, graded.value, state.best_value),
            rises=state.rises + (graded.value > state.value),
        )
        return _look(moved, looks[k + 1]) if k + 1 in looks else moved

    return iterate(problem, start, step, steps=steps, restarts=restarts)


def _look(state: State, window: int) -> State:
    """Process a checkpoint: where progress stalled (conditions 1 and 2), halve the step and go back to the best point."""
    stalled = ~state.halved & (state.best_then >= state.best_value)
    halve = (state.rises <= 0.75 * window) | stalled
    return state._replace(
        share=torch.where(halve, state.share / 2, state.share),
        x=_where(halve, state.best_x, state.x),
        g=_where(halve, state.best_g, state.g),
        rises=torch.zeros_like(state.rises),
        best_then=state.best_value,
        halved=halve,
    )


def _where(rows: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(rows.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)
