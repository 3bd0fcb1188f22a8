"""Auto-PGD: projected gradient ascent with momentum that finds its step size by itself."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.ascent import along
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
def apgd(bout: Bout, *, steps: int = 100, loss: str = "ce", restarts: int = 1) -> Tensor:
    """Auto-PGD without a target class.

    steps: gradient steps per restart. loss: "ce" or "dlr" in the paper; any registered one. restarts: for
    samples that still stand.

    Where we differ: a sample that is broken stops; the random start is uniform in the region; in L1 the
    fixed sparse step of the space is taken instead of the adaptive one of arXiv:2103.01208.
    """
    return _ascend(bout, loss_of(loss), lambda live, restart: live.reference, steps, restarts)


@attack(needs={"gradients", "scores"}, uses={"project", "ascend", "sample"}, cites=CITES + ", section 4.1")
def apgd_t(bout: Bout, *, steps: int = 100, loss: str = "dlr", targets: int = 9, restarts: int = 1) -> Tensor:
    """Auto-PGD toward one class after the other: the `targets` highest wrong classes of the clean input.

    steps, restarts: per target. Success is the goal of the threat, any wrong class counts when that is
    untargeted. With C classes there are at most C - 1 targets.
    """
    classes, climbed = bout.victim.classes, loss_of(loss)
    if bout.threat.goal.kind != "untargeted":
        return _ascend(bout, climbed, lambda live, restart: live.reference, steps, restarts)
    label = bout.reference.label
    ranked = bout.scores(bout.x).scatter(1, label[:, None], -math.inf).argsort(1, descending=True)
    count = min(targets, classes - 1)

    def aim(live: Bout, turn: int) -> Reference:
        target = ranked[torch.searchsorted(bout.rows, live.rows), turn % count]
        return Reference(live.reference.label, target, -torch.ones_like(live.reference.sign))

    return _ascend(bout, climbed, aim, steps, count * restarts)


def checkpoints(steps: int) -> dict[int, int]:
    """After which steps the step size is looked at, with the length of the window before (equation 5)."""
    window, least, less = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    found, at = {}, window
    while at <= steps:
        found[at] = window
        window = max(window - less, least)
        at += window
    return found


def _ascend(bout: Bout, loss: Loss, aim: Callable[[Bout, int], Reference], steps: int, restarts: int) -> Tensor:
    looks = checkpoints(bout.steps(steps))

    def start(live: Bout, restart: int) -> State:
        x, target = cast(Any, live.region).sample(live.dice.draw(restart)), aim(live, restart)
        graded = live.gradient(x, loss, target)
        zeros = torch.zeros_like(graded.value)
        no, two = zeros.bool(), torch.full_like(zeros, 2.0)
        # "halved" begins as True: the first checkpoint cannot yet say that nothing improved
        return State(x, x, graded.grad, graded.value, x, graded.grad, graded.value, two, zeros, graded.value, ~no, target)

    def step(live: Bout, state: State, k: int) -> State:
        z = along(live, state.x, state.g, state.share)
        weight = 0.75 if k else 1.0
        x = cast(Any, live.region).project(state.x + weight * (z - state.x) + (1 - weight) * (state.x - state.before))
        graded = live.gradient(x, loss, state.aim)
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
