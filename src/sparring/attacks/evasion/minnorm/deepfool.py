"""DeepFool: step onto the nearest boundary of the linearised model until the goal is met."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.minnorm.boundary import boxed, last_look, nearest_plane, rivals
from sparring.attacks.loop import drop_finished, take
from sparring.core.bout import Bout

CITES = "Moosavi-Dezfooli, Fawzi, Frossard 2016, arXiv:1511.04599, algorithms 1 and 2; github.com/LTS4/DeepFool"


class State(NamedTuple):
    """x: [m, ...], the point to ask. classes: int64 [m, k] or None, see `nearest_plane`. place: int64 [m], which row of the bout."""

    x: Tensor
    classes: Tensor | None
    place: Tensor


@attack(needs={"gradients", "scores"}, uses={"onto_plane", "dual", "project"}, cites=CITES)
def deepfool(bout: Bout, *, steps: int = 50, candidates: int = 10, overshoot: float = 0.02) -> Tensor:
    """Fool the model along the way to its nearest linearised boundary, a handful of gradients in all.

    steps: at most. candidates: wrong classes looked at, the highest of the clean input, a backward each. overshoot: share by which
    the whole change is lengthened.

    Where we differ: steps are shortest inside the bounds of the input, which the paper ignores, and in L1 too; a target is reached
    over the boundary with its best rival; where the goal was met outside the radius only, the point drawn back into it is tried.
    """
    scores = bout.scores(bout.x)
    classes = rivals(scores, bout.reference.anchor, candidates) if bout.threat.goal.kind == "untargeted" else None
    reached = bout.x.clone()
    live, state = drop_finished(bout, State(bout.x, classes, torch.arange(len(bout), device=bout.rows.device)))
    for _ in range(bout.steps(steps)):
        if not len(live):
            break
        plane = nearest_plane(live, state.x, state.classes)
        base = live.x + (state.x - live.x) / (1 + overshoot)
        moved = base + cast(Any, live.region).onto_plane(state.x, plane.normal, plane.gap(state.x, state.x)) - state.x
        x = boxed(live, live.x + (1 + overshoot) * (moved - live.x), state.x)
        state = state._replace(x=torch.where(plane.done.reshape(-1, *[1] * (x.ndim - 1)), state.x, x))
        reached[state.place] = state.x
        on = (~plane.done & live.unfinished()).nonzero().squeeze(1)
        live, state = live.take(on), take(state, on)
    if len(live):
        live.margins(state.x, probe=True)
    last_look(bout, reached)
    return bout.best()
