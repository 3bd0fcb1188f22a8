"""JSMA: the pixel that raises the target class and lowers the others goes to its edge, one after the other."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.minnorm.shrinking import length
from sparring.attacks.loop import take
from sparring.core.bout import Bout
from sparring.threats.sparse import on


class State(NamedTuple):
    """x: [m, ...], where each row stands. target: int64 [m], the class to reach. rival: int64 [m], the highest of the others."""

    x: Tensor
    target: Tensor
    rival: Tensor


@attack(needs={"gradients", "scores"}, uses={"ascend", "changed"}, cites="Papernot et al. 2016, arXiv:1511.07528, algorithms 1 and 3")
def jsma(bout: Bout, *, steps: int = 100, pixels: int = 1, targets: int = 3) -> Tensor:
    """Jacobian-based saliency map: places with the highest saliency toward a target class are moved to an edge of the box.

    steps: how often that is done, a target. pixels: places moved at once. targets: where no class is to be reached, so many of the
    wrong ones are tried one after the other, the nearest by linearised distance at the clean input first.

    Where we differ: single places instead of pairs; a place goes to the edge that the sign of its saliency points to, not to one
    edge for all; of the others only the highest counts, as it was a step before, which takes two backwards instead of one a class;
    of the places that raise the target and lower that one, or where there is none of all, that with the largest gain comes first, in the
    difference of the two, not the product; once the radius is used up, places that matter least are taken back; a walk ends
    where it is as large as the smallest success.
    """
    ranked, highest = _ranked(bout)
    count = min(targets, ranked.shape[1]) if bout.threat.goal.kind == "untargeted" else 1
    for turn in range(count):
        rows = bout.unfinished().nonzero().squeeze(1)
        if not len(rows):
            break
        live, state = bout.take(rows), State(bout.x[rows], ranked[rows, turn], highest[rows])
        for k in range(bout.steps(steps) + 1):
            going = (live.unfinished() & (live.region.size(state.x) < live.smallest())).nonzero().squeeze(1)
            if not len(going):
                break
            live, state = live.take(going), take(state, going)
            if k == bout.steps(steps):
                live.scores(state.x)
                break
            state = _moved(live, state, float(pixels))
    return bout.best()


def _moved(live: Bout, state: State, pixels: float) -> State:
    """The state after the next places went to their edges."""
    region = cast(Any, live.region)
    graded = live.gradients(state.x, torch.stack([state.target, state.rival], 1))
    raised, others = graded.grad[:, 0], graded.grad[:, 1]
    used = region.changed(state.x) & (region.size(state.x) < region.count)[:, None]
    way = on(used, torch.zeros_like(raised), raised - others)
    salient = way * (raised * others < 0)
    none = (salient == 0).flatten(1).all(1).reshape(-1, *[1] * (way.ndim - 1))
    x = region.ascend(state.x, torch.where(none, way, salient), torch.full_like(region.radius, pixels))
    rival = graded.scores.nan_to_num(0.0).scatter(1, state.target[:, None], -torch.inf).argmax(1)
    return State(x, state.target, rival)


def _ranked(live: Bout) -> tuple[Tensor, Tensor]:
    """Classes to reach, int64 [m, k]: the target, or the wrong ones by linearised distance; and the highest class beside the target, int64 [m]."""
    reference = live.reference
    if live.threat.goal.kind != "untargeted":
        scores = live.scores(live.x).nan_to_num(0.0)
        return reference.anchor[:, None], scores.scatter(1, reference.anchor[:, None], -torch.inf).argmax(1)
    label = reference.label[:, None]
    every = torch.arange(live.victim.classes, device=label.device).expand(len(live), -1)
    graded = live.gradients(live.x, every)
    own = graded.grad[torch.arange(len(label), device=label.device), label.squeeze(1)]
    steep = torch.stack([length(part - own) for part in graded.grad.unbind(1)], 1)
    ahead = (graded.value.gather(1, label) - graded.value).double()
    distance = torch.where(every == label, torch.inf, (ahead / steep.clamp_min(1e-30)).nan_to_num(0.0))
    return distance.argsort(dim=1, stable=True)[:, :-1], reference.label
