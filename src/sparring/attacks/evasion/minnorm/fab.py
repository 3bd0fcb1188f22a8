"""FAB: alternate between the nearest linearised boundary and a pull back to the clean input."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.minnorm.boundary import Plane, boxed, last_look, nearest_plane, rivals, rivals_to_leave
from sparring.attacks.evasion.minnorm.shrinking import wide_as
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem
from sparring.tasks.classes import of_classes

CITES = "Croce, Hein 2020, arXiv:1907.02044, algorithm 1; github.com/fra31/fab-attack"

SECANTS = 3
"""Steps of the final search along the way from the clean input to the best point (section 2.3)."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], the point to ask next. classes: int64 [m, k] or None, see `nearest_plane`. found: the smallest point that
    met the goal, of size `size` (float64, inf: none) and margin `past`; near: a point before it that does not, of margin
    `short`.
    """

    x: Tensor
    classes: Tensor | None
    found: Tensor
    size: Tensor
    past: Tensor
    near: Tensor
    short: Tensor


@attack(needs={"gradients", "scores"}, uses={"onto_plane", "dual", "sample", "project"}, cites=CITES)
def fab(
    problem: Problem, *, steps: int = 100, restarts: int = 1, candidates: int = 10, overshoot: float = 0.05, bias: float = 0.1, backward: float = 0.9
) -> Tensor:
    """Alternate between the nearest linearised boundary and a pull back to the clean input.

    Args:
        steps: Gradients per restart.
        restarts: The first begins at the clean input, others at a random point within half of what is to be beaten.
        candidates: Wrong classes looked at, the highest of the clean input, a backward each.
        overshoot: How much further than the plane, as a share of the step.
        bias: Largest weight of the projection of the clean input (alpha_max).
        backward: How much is kept of a change that met the goal before going on (beta).

    Source: Croce, Hein 2020, arXiv:1907.02044, algorithm 1; github.com/fra31/fab-attack.

    Differs from the paper: after a success the boundary as seen from the successful point serves the step from the shortened
    change too, so an iteration is one question, not two; where any change within the radius will do, a row stops at the first;
    a target is reached over the boundary with its best rival at each point.
    """
    scores = problem.scores(problem.x)
    classes = rivals_to_leave(problem, scores, candidates)
    return _walk(problem, scores, lambda turn: classes, restarts, 1, steps, 1 + overshoot, bias, backward)


@attack(
    tasks={"classes"}, needs={"gradients", "scores"}, uses={"onto_plane", "dual", "sample", "project"}, cites=CITES + "; github.com/fra31/auto-attack (FAB-T)"
)
def fab_t(
    problem: Problem, *, steps: int = 100, targets: int = 9, restarts: int = 1, overshoot: float = 0.05, bias: float = 0.1, backward: float = 0.9
) -> Tensor:
    """Run FAB over the boundary with one wrong class after the other.

    It costs one backward per step. Any class counts as success where the goal is untargeted; where it is not, this is `fab`.

    Args:
        steps: Gradients per restart and target.
        targets: The highest wrong classes of the clean input, at most C - 1.
        restarts: Per target.
        overshoot: As in `fab`.
        bias: As in `fab`.
        backward: As in `fab`.

    Source: Croce, Hein 2020, arXiv:1907.02044, algorithm 1; github.com/fra31/fab-attack; github.com/fra31/auto-attack
    (FAB-T).

    Differs from the paper: as `fab` does.
    """
    scores = problem.scores(problem.x)
    criterion = of_classes(problem.criterion)
    if not criterion.untargeted:
        return _walk(problem, scores, lambda turn: None, restarts, 1, steps, 1 + overshoot, bias, backward)
    ranked = rivals(scores, criterion.reference_class, targets)
    count = ranked.shape[1] - 1
    return _walk(problem, scores, lambda turn: ranked[:, [0, 1 + turn % count]], count * restarts, count, steps, 1 + overshoot, bias, backward)


def _walk(
    problem: Problem,
    scores: Tensor,
    classes_of: Callable[[int], Tensor | None],
    turns: int,
    first: int,
    steps: int,
    reach: float,
    bias: float,
    backward: float,
) -> Tensor:
    """Run `turns` walks of so many steps; the first `first` of them start from the clean input."""
    clean = problem.criterion.loss(scores)

    def start(live: Problem, turn: int) -> State:
        places, classes = torch.searchsorted(problem.rows, live.rows), classes_of(turn)
        beat = torch.minimum(live.smallest(), cast(Any, live.region).radius)
        x = live.x if turn < first else cast(Any, live.at(beat / 2).region).sample(live.rng.draw(turn))
        short, nothing = clean[places], torch.full_like(beat, torch.inf)
        return State(x, None if classes is None else classes[places], live.x, nothing, short, live.x, short)

    def step(live: Problem, state: State, k: int) -> State:
        if k == wanted + SECANTS:
            last_look(live, torch.where(wide_as(state.size < torch.inf, state.x), state.found, state.x))
            return state
        if k >= wanted:
            return _secant(live, state)
        plane = nearest_plane(live, state.x, state.classes)
        size = live.region.size(state.x)
        better = plane.done & (size < state.size)
        base = torch.where(wide_as(plane.done, state.x), live.x + backward * (state.x - live.x), state.x)
        return state._replace(
            x=_drawn(live, state.x, base, plane, reach, bias),
            found=torch.where(wide_as(better, state.x), state.x, state.found),
            size=torch.where(better, size, state.size),
            past=torch.where(better, plane.past, state.past),
        )

    wanted = problem.steps(steps)
    return iterate(problem, start, step, steps=wanted + SECANTS + 1, restarts=turns)


def _drawn(live: Problem, x: Tensor, base: Tensor, plane: Plane, reach: float, bias: float) -> Tensor:
    """The step: the projections of base and clean input onto the plane, mixed by their lengths (equations 8 to 10)."""
    region = cast(Any, live.region)
    here = region.onto_plane(base, plane.normal, plane.gap(x, base)) - base
    there = region.onto_plane(live.x, plane.normal, plane.gap(x, live.x)) - live.x
    lengths = region.size(live.x + here), region.size(live.x + there)
    weight = wide_as((lengths[0] / (lengths[0] + lengths[1]).clamp_min(1e-300)).clamp(max=bias), x)
    return boxed(live, (1 - weight) * (base + reach * here) + weight * (live.x + reach * there), base)


def _secant(live: Problem, state: State) -> State:
    """Return where the segment from `near` to `found` crosses the boundary if the margin is linear on it; rows without a point are unchanged."""
    rows = (state.size < torch.inf).nonzero().squeeze(1)
    if not len(rows):
        return state
    found, near, past, short = state.found[rows], state.near[rows], state.past[rows], state.short[rows]
    share = 0.999 * (past / (past - short).clamp_min(torch.finfo(past.dtype).tiny)).clamp(0, 1)  # on the far side of the plane
    point = found + wide_as(share, found) * (near - found)
    loss = live.take(rows).losses(point, probe=True)
    hit = loss > 0
    size = torch.where(hit, live.region.take(rows).size(point), state.size[rows])
    return state._replace(
        found=state.found.index_copy(0, rows, torch.where(wide_as(hit, point), point, found)),
        size=state.size.index_copy(0, rows, size),
        past=state.past.index_copy(0, rows, torch.where(hit, loss, past)),
        near=state.near.index_copy(0, rows, torch.where(wide_as(hit, point), near, point)),
        short=state.short.index_copy(0, rows, torch.where(hit, short, loss)),
    )
