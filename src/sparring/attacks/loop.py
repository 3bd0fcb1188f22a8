"""The one loop of all iterative attacks: finished samples leave, restarts touch only survivors."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from sparring.core.domain import Batch
from sparring.core.problem import Problem

State = TypeVar("State", bound=tuple)


def iterate(
    problem: Problem,
    start: Callable[[Problem, int], State],
    step: Callable[[Problem, State, int], State],
    *,
    steps: int,
    restarts: int = 1,
    last_look: bool = False,
) -> Batch:
    """Run `start(problem, restart)` and then `step(problem, state, k)` for k = 0 ... steps - 1.

    A state is a NamedTuple of tensors (or batches) with the sample first; row i belongs to row i of
    the problem that comes with it. After every step the rows that broke or ran out of budget are
    taken out of both, so they cost nothing more. `last_look` asks for the scores of `state.x` after the
    last step, for attacks that look before they move. Returns the best point found for each row.

    A whole attack, random search that keeps a step which raises the margin:

        class State(NamedTuple):
            x: Tensor
            margin: Tensor

        @attack(needs={"scores"}, uses={"sample", "project"}, cites="Rastrigin 1963")
        def random_search(problem: Problem, *, steps: int = 100) -> Tensor:
            def start(live, restart):
                return State(live.x, live.losses(live.x))

            def step(live, state, k):
                x = live.region.project((state.x + live.region.sample(live.rng.draw(k))) / 2)
                margin = live.losses(x)
                better = margin > state.margin
                return State(where(better, x, state.x), where(better, margin, state.margin))

            return iterate(problem, start, step, steps=steps)
    """
    for restart in range(restarts):
        live = problem.take(problem.unfinished())
        if not len(live):
            break
        state = start(live, restart)
        for k in range(problem.steps(steps)):
            live, state = drop_finished(live, state)
            if not len(live):
                break
            state = step(live, state, k)
        if last_look:
            live, state = drop_finished(live, state)
            if len(live):
                live.scores(state.x)  # type: ignore[attr-defined]
    return problem.best()


def drop_finished(problem: Problem, state: State) -> tuple[Problem, State]:
    """Drop the rows that are broken or out of budget from problem and state."""
    keep = problem.unfinished()
    if bool(keep.all()):
        return problem, state
    rows = keep.nonzero().squeeze(1)
    return problem.take(rows), take(state, rows)


def take(state: State, rows: Tensor) -> State:
    """Return the rows of every part of a state.

    Parts that are None stay None, nested states are taken apart.
    """
    parts: list[Any] = [None if one is None else take(one, rows) if isinstance(one, tuple) else one[rows] for one in state]
    return type(state)(*parts)
