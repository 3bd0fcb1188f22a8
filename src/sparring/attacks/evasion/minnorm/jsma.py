"""JSMA: the pixel that raises the target class and lowers the others goes to its edge, one after the other."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.minnorm.shrinking import length
from sparring.attacks.loop import climb
from sparring.core.bout import Bout


class State(NamedTuple):
    """x: [m, ...], where each row stands. target: int64 [m], the class to reach."""

    x: Tensor
    target: Tensor


@attack(needs={"gradients", "scores"}, uses={"ascend", "changed"}, cites="Papernot et al. 2016, arXiv:1511.07528, algorithms 1 and 3")
def jsma(bout: Bout, *, steps: int = 100, pixels: int = 1) -> Tensor:
    """Jacobian-based saliency map: places with the highest saliency toward a target class are moved to an edge of the box.

    steps: how often that is done. pixels: places moved at once. Where no class is to be reached, the nearest of the
    wrong classes of highest score is taken, by its linearised distance at the clean input.

    Where we differ: single places instead of pairs; a place goes to the edge that the sign of its saliency points to, not to one
    edge for all; where no coordinate raises the target and lowers the others at once, those
    that raise the difference are taken; of the others only the highest counts, whose sum says little between ten classes; once
    the radius is used up, places that matter least are taken back.
    """
    classes = bout.victim.classes

    def begin(live: Bout, restart: int) -> State:
        targeted = live.reference.sign < 0
        return State(live.x, live.reference.anchor.where(targeted, _nearest(live)))

    def step(live: Bout, state: State, k: int) -> State:
        every = torch.arange(classes, device=state.target.device).expand(len(live), -1)
        graded = live.gradients(state.x, every)
        rival = graded.scores.nan_to_num(0.0).scatter(1, state.target[:, None], -torch.inf).argmax(1)
        raised, others = _of(graded.grad, state.target), _of(graded.grad, rival)
        saliency = raised.sign() * (raised * others).abs() * (raised * others < 0)
        none = (saliency == 0).flatten(1).all(1).reshape(-1, *[1] * (saliency.ndim - 1))
        count = torch.full((len(live),), float(pixels), dtype=torch.float64, device=state.x.device)
        return state._replace(x=cast(Any, live.region).ascend(state.x, torch.where(none, raised - others, saliency), count))

    return climb(bout, begin, step, steps=steps, last_look=True)


def _nearest(live: Bout) -> Tensor:
    """int64 [m]: the wrong class with the smallest linearised distance."""
    label = live.reference.label[:, None]
    every = torch.arange(live.victim.classes, device=label.device).expand(len(live), -1)
    graded = live.gradients(live.x, every)
    own = _of(graded.grad, live.reference.label)
    steep = torch.stack([length(part - own) for part in graded.grad.unbind(1)], 1)
    ahead = (graded.value.gather(1, label) - graded.value).double()
    distance = torch.where(every == label, torch.inf, (ahead / steep.clamp_min(1e-30)).nan_to_num(0.0))
    return distance.argmin(1)


def _of(grads: Tensor, classes: Tensor) -> Tensor:
    """[m, ...]: of gradients [m, C, ...] those of one class a row."""
    return grads[torch.arange(len(classes), device=classes.device), classes]
