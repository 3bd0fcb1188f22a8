"""Auto-PGD: projected gradient ascent with momentum that finds its step size by itself."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.ascent import Order, along, averaged, nearest_classes
from sparring.attacks.loop import climb
from sparring.attacks.losses import loss_of
from sparring.core.bout import Bout, Loss
from sparring.core.threat import Reference

CITES = "Croce, Hein 2020, arXiv:2003.01690, algorithm 1; github.com/fra31/auto-attack"


class State(NamedTuple):
    """x, before: [m, ...], this iterate and the last; g: gradient at x; best...: of highest loss so far.
    share: step size as a share of the radius; value: loss at x; rises: steps that raised it since the
    last checkpoint; best_then: best loss at the last checkpoint; halved: did it halve the step there?
    aim: what the loss is measured against."""

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
    aim: Reference


@attack(needs={"gradients", "scores"}, uses={"project", "ascend", "sample"}, cites=CITES)
def apgd(bout: Bout, *, steps: int = 100, loss: str = "ce", restarts: int = 1, draws: int = 1) -> Tensor:
    """Auto-PGD without a target class.

    steps: gradient steps per restart. loss: "ce" or "dlr" in the paper; any registered one. restarts: for
    samples that still stand. draws: gradients averaged at each step, for randomised models.

    Where we differ: a sample that is broken stops; the random start is uniform in the region, the original's is
    scaled to the surface of the ball; for L1 as the original does it see `apgd_l1`.
    """
    return ascend(bout, loss_of(loss), lambda live, restart: live.reference, steps, restarts, draws)


@attack(needs={"gradients", "scores"}, uses={"project", "ascend", "sample"}, cites=CITES + ", section 4.1")
def apgd_t(
    bout: Bout, *, steps: int = 100, loss: str = "dlr", targets: int = 9, restarts: int = 1, order: Order = "scores", skip: int = 0, draws: int = 1
) -> Tensor:
    """Auto-PGD toward one wrong class after the other, the most promising of the clean input first.

    steps, restarts: per target. targets: how many classes, after leaving out the first `skip`. order: "scores", the highest
    first, or "linearised", the nearest by the linearised model first (the latter for a backward a class). Success is
    the goal of the threat: any wrong class counts when that is untargeted. With C classes there are at most C - 1 targets.
    """
    if bout.threat.goal.kind != "untargeted":
        return ascend(bout, loss_of(loss), lambda live, restart: live.reference, steps, restarts, draws)
    ranked = nearest_classes(bout, bout.x, order)[:, skip : skip + targets]
    return ascend(bout, loss_of(loss), aim_at(bout, ranked), steps, ranked.shape[1] * restarts, draws)


def aim_at(bout: Bout, classes: Tensor) -> Callable[[Bout, int], Reference]:
    """What turn k of a search over `bout` aims at: column k of classes (int64 [n, k]), round and round."""

    def aim(live: Bout, turn: int) -> Reference:
        target = classes[torch.searchsorted(bout.rows, live.rows), turn % classes.shape[1]]
        return Reference(live.reference.label, target, -torch.ones_like(live.reference.sign))

    return aim


def checkpoints(steps: int) -> dict[int, int]:
    """After which steps the step size is looked at, with the length of the window before (equation 5)."""
    window, least, less = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    found, at = {}, window
    while at <= steps:
        found[at] = window
        window = max(window - less, least)
        at += window
    return found


def ascend(bout: Bout, loss: Loss, aim: Callable[[Bout, int], Reference], steps: int, restarts: int, draws: int = 1) -> Tensor:
    """Algorithm 1, aiming at what `aim(live bout, restart)` says."""
    looks = checkpoints(bout.steps(steps))

    def start(live: Bout, restart: int) -> State:
        x, target = cast(Any, live.region).sample(live.dice.draw(restart)), aim(live, restart)
        graded = averaged(live, x, loss, target, draws)
        zeros = torch.zeros_like(graded.value)
        no, two = zeros.bool(), torch.full_like(zeros, 2.0)
        # "halved" begins as True: the first checkpoint cannot yet say that nothing improved
        return State(x, x, graded.grad, graded.value, x, graded.grad, graded.value, two, zeros, graded.value, ~no, target)

    def step(live: Bout, state: State, k: int) -> State:
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

    return climb(bout, start, step, steps=steps, restarts=restarts)


def _look(state: State, window: int) -> State:
    """A checkpoint: halve the step and go back to the best point where progress stalled (conditions 1 and 2)."""
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
