"""Projected gradient descent: start anywhere in the region, climb the loss, project, repeat."""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.ascent import along
from sparring.attacks.loop import iterate
from sparring.attacks.losses import loss_of
from sparring.core.goal import Criterion
from sparring.core.problem import Loss, Problem


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], where each row stands. aim: what the loss is measured against. velocity: like x, None without momentum.
    """

    x: Tensor
    aim: Criterion
    velocity: Tensor | None


@attack(
    needs={"gradients", "scores"},
    uses={"project", "ascend", "sample"},
    cites="Madry et al. 2018, arXiv:1706.06083; momentum: Dong et al. 2018, arXiv:1710.06081",
)
def pgd(
    problem: Problem,
    *,
    steps: int = 40,
    step_size: float = 0.0,
    loss: str = "ce",
    restarts: int = 1,
    momentum: float = 0.0,
    random_start: bool = True,
    decay: Literal["none", "cosine"] = "none",
) -> Tensor:
    """Ascend the loss by projected gradient steps from a random point of the region.

    Args:
        steps: Gradient steps per restart.
        step_size: As a share of the radius; 0 means 2.5 / steps, as Madry et al. advise.
        loss: "ce", "margin", "dlr" or "pm".
        restarts: Restarts from new random points, for unbroken samples.
        momentum: Decay of the velocity of MI-FGSM, 0 for none.
        random_start: Begin at a random point of the region, else at the clean input.
        decay: Of the step over the restart, "none" or "cosine" down to nothing.

    Source: Madry et al. 2018, arXiv:1706.06083; momentum: Dong et al. 2018, arXiv:1710.06081.

    Differs from the paper: a sample that is broken stops, and of all points visited the best is returned, not the last.
    """
    climbed, first = loss_of(loss), step_size or 2.5 / max(steps, 1)

    def share(k: int) -> float:
        return first if decay == "none" else first * cosine(k, steps)

    def start(live: Problem, restart: int) -> Tensor:
        return cast(Any, live.region).sample(live.rng.draw(restart)) if random_start else live.x

    return descend(problem, lambda restart, k: climbed, share, start, steps=steps, restarts=restarts, momentum=momentum)


def descend(
    problem: Problem,
    loss: Callable[[int, int], Loss],
    share: Callable[[int], float],
    start: Callable[[Problem, int], Tensor],
    aim: Callable[[Problem, int], Criterion] | None = None,
    *,
    steps: int,
    restarts: int,
    momentum: float = 0.0,
) -> Tensor:
    """Ascend `loss(restart, k)` by steps of `share(k)` of the radius.

    It begins at `start(live problem, restart)`. The loss is measured against the criterion that `aim(live problem, restart)`
    returns (the goal, if left out).
    """

    def begin(live: Problem, restart: int) -> State:
        nonlocal turn
        turn = restart
        x = start(live, restart)
        return State(x, aim(live, restart) if aim else live.criterion, torch.zeros_like(x) if momentum else None)

    def step(live: Problem, state: State, k: int) -> State:
        g, velocity = live.gradient(state.x, loss(turn, k), state.aim).grad, None
        if state.velocity is not None:
            scale = g.abs().flatten(1).mean(1).clamp_min(1e-30).reshape(-1, *[1] * (g.ndim - 1))
            g = velocity = momentum * state.velocity + g / scale
        return State(along(live, state.x, g, share(k)), state.aim, velocity)

    turn = 0
    return iterate(problem, begin, step, steps=steps, restarts=restarts, last_look=True)


def cosine(k: int, steps: int) -> float:
    """Return a share that falls from 1 at the first of so many steps to 0 after the last."""
    return (1 + math.cos(math.pi * k / max(steps, 1))) / 2
