"""PGD from starting points with diverse outputs: the first steps ascend a random direction of the logits."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.ascent import along
from sparring.attacks.evasion.gradient.pgd import cosine
from sparring.attacks.loop import iterate
from sparring.attacks.losses import loss_of
from sparring.core.problem import Problem
from sparring.tasks.classes import of_classes

CITES = "Tashiro, Song, Ermon 2020, arXiv:2003.06878 (ODI); Liu et al. 2022, arXiv:2203.05154 (A3: biased directions, cosine steps, easiest samples first)"


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], where each row stands. way: [m, C], the direction of the scores its start climbs.
    """

    x: Tensor
    way: Tensor


@attack(tasks={"classes"}, needs={"gradients", "scores"}, uses={"project", "ascend", "sample"}, cites=CITES)
def odi(
    problem: Problem,
    *,
    steps: int = 20,
    warmup: int = 2,
    restarts: int = 20,
    loss: str = "margin",
    step_size: float = 1.0,
    bias: float = 0.0,
    warm: bool = False,
) -> Tensor:
    """Run PGD from starts that lie along random directions of the logits.

    Each start ascends a random direction of the scores for `warmup` steps.

    Args:
        steps: After the warm-up, per restart.
        warmup: Steps along the random direction at the start of each restart.
        restarts: How often that is done, for samples that are not broken yet.
        loss: Any registered loss, maximised after the warm-up.
        step_size: Of the first step and of those of the warm-up, as a share of the radius; after the warm-up it decays
            by a cosine.
        bias: How surely a direction lowers the class to leave and raises its runner-up (0: not at all, as in ODI; A3
            found 0.8 of ten classes). The set `fast` has 0.8, with a warm-up of 5 steps.
        warm: Read the runner-up at the best point that earlier attacks of a cascade left, else at the clean input.

    Source: Tashiro, Song, Ermon 2020, arXiv:2003.06878 (ODI); Liu et al. 2022, arXiv:2203.05154 (A3: biased directions,
    cosine steps, easiest samples first).

    Differs from the paper of ODI: the steps after the warm-up fall from the whole radius by a cosine, as in A3, where the paper keeps a quarter of it.

    Differs from A3: its bias is learnt across the samples of a run, and which samples are attacked depends on how
    the others do; then one sample's result hangs on the batch. Here each sample is judged by itself.
    """
    scores = problem.scores(problem.best() if warm else problem.x)
    lower = _promise(problem, scores)
    climbed = loss_of(loss)

    def start(live: Problem, restart: int) -> State:
        rng = live.rng.draw(restart)
        places = torch.searchsorted(problem.rows, live.rows)
        way = 2 * rng.draw("way").uniform(scores.shape[1], dtype=scores.dtype) - 1
        sure = rng.draw("sure").uniform(1, dtype=scores.dtype) < bias
        way = torch.where(sure & (lower[places] != 0), lower[places] * way.abs(), way)
        return State(cast(Any, live.region).sample(rng.draw("start")), way)

    def step(live: Problem, state: State, k: int) -> State:
        if k < warmup:
            g = live.gradient(state.x, lambda asked, _: (asked * state.way).sum(1)).grad
            return state._replace(x=along(live, state.x, g, step_size))
        g = live.gradient(state.x, climbed).grad
        return state._replace(x=along(live, state.x, g, step_size * cosine(k - warmup, steps)))

    return iterate(problem, start, step, steps=warmup + steps, restarts=restarts, last_look=True)


def _promise(problem: Problem, scores: Tensor) -> Tensor:
    """Return [m, C]: -1 for the class to leave, +1 for its runner-up and 0 elsewhere; the signs are reversed for a class to reach."""
    criterion = of_classes(problem.criterion)
    reference_class, sign = criterion.reference_class[:, None], criterion.sign[:, None].to(scores.dtype)
    rival = scores.scatter(1, reference_class, -torch.inf).argmax(1, keepdim=True)
    return torch.zeros_like(scores).scatter(1, rival, sign).scatter(1, reference_class, -sign)
