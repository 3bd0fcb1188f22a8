"""JSMA: the pixel that raises the target class and lowers the others goes to its edge, one after the other."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.ascent import class_gradients
from sparring.attacks.evasion.minnorm.shrinking import length
from sparring.attacks.loop import take
from sparring.core.problem import Problem
from sparring.tasks.classes import of_classes
from sparring.threats.sparse import on


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], where each row stands. target: int64 [m], the class to reach. rival: int64 [m], the highest of the others.
    """

    x: Tensor
    target: Tensor
    rival: Tensor


@attack(tasks={"classes"}, needs={"gradients", "scores"}, uses={"ascend", "changed"}, cites="Papernot et al. 2016, arXiv:1511.07528, algorithms 1 and 3")
def jsma(problem: Problem, *, steps: int = 100, pixels: int = 1, targets: int = 3) -> Tensor:
    """Move the pixel of highest saliency toward a target class to its bound, one at a time.

    Args:
        steps: How often that is done, a target.
        pixels: Places moved at once.
        targets: Where no class is to be reached, so many of the wrong ones are tried one after the other, the nearest
            by linearised distance at the clean input first.

    Source: Papernot et al. 2016, arXiv:1511.07528, algorithms 1 and 3.

    Differs from the paper: single places instead of pairs; a place goes to the edge that the sign of its saliency points to, not to one
    edge for all; of the others only the highest counts, as it was a step before, which takes two backwards instead of one a class;
    of the places that raise the target and lower that one, or where there is none of all, that with the largest gain comes first, in the
    difference of the two, not the product; once the radius is used up, places that matter least are taken back; a walk ends
    where it is as large as the smallest success.
    """
    ranked, highest = _ranked(problem)
    count = min(targets, ranked.shape[1]) if of_classes(problem.criterion).untargeted else 1
    for turn in range(count):
        rows = problem.unfinished().nonzero().squeeze(1)
        if not len(rows):
            break
        live, state = problem.take(rows), State(problem.x[rows], ranked[rows, turn], highest[rows])
        for k in range(problem.steps(steps) + 1):
            going = (live.unfinished() & (live.region.size(state.x) < live.smallest())).nonzero().squeeze(1)
            if not len(going):
                break
            live, state = live.take(going), take(state, going)
            if k == problem.steps(steps):
                live.scores(state.x)
                break
            state = _moved(live, state, float(pixels))
    return problem.best()


def _moved(live: Problem, state: State, pixels: float) -> State:
    """Return the state after the next places were moved to their bounds."""
    region = cast(Any, live.region)
    graded = class_gradients(live, state.x, torch.stack([state.target, state.rival], 1))
    raised, others = graded.grad[:, 0], graded.grad[:, 1]
    used = region.changed(state.x) & (region.size(state.x) < region.count)[:, None]
    way = on(used, torch.zeros_like(raised), raised - others)
    salient = way * (raised * others < 0)
    none = (salient == 0).flatten(1).all(1).reshape(-1, *[1] * (way.ndim - 1))
    x = region.ascend(state.x, torch.where(none, way, salient), torch.full_like(region.radius, pixels))
    rival = graded.scores.nan_to_num(0.0).scatter(1, state.target[:, None], -torch.inf).argmax(1)
    return State(x, state.target, rival)


def _ranked(live: Problem) -> tuple[Tensor, Tensor]:
    """Classes to reach, int64 [m, k]: the target, or the wrong ones by linearised distance; and the highest class beside the target, int64 [m]."""
    criterion = of_classes(live.criterion)
    if not criterion.untargeted:
        scores = live.scores(live.x).nan_to_num(0.0)
        return criterion.reference_class[:, None], scores.scatter(1, criterion.reference_class[:, None], -torch.inf).argmax(1)
    label = criterion.label[:, None]
    every = torch.arange(live.victim.classes, device=label.device).expand(len(live), -1)
    graded = class_gradients(live, live.x, every)
    own = graded.grad[torch.arange(len(label), device=label.device), label.squeeze(1)]
    steep = torch.stack([length(part - own) for part in graded.grad.unbind(1)], 1)
    ahead = (graded.value.gather(1, label) - graded.value).double()
    distance = torch.where(every == label, torch.inf, (ahead / steep.clamp_min(1e-30)).nan_to_num(0.0))
    return distance.argsort(dim=1, stable=True)[:, :-1], criterion.label
