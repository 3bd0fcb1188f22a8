"""The one loop of all iterative attacks: finished samples leave, restarts touch only survivors."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from sparring.core.bout import Bout
from sparring.core.domain import Batch

State = TypeVar("State", bound=tuple)


def climb(
    bout: Bout,
    start: Callable[[Bout, int], State],
    step: Callable[[Bout, State, int], State],
    *,
    steps: int,
    restarts: int = 1,
    last_look: bool = False,
) -> Batch:
    """Run `start(bout, restart)` and then `step(bout, state, k)` for k = 0 ... steps - 1.

    A state is a NamedTuple of tensors (or batches) with the sample first; row i belongs to row i of
    the bout that comes with it. After every step the rows that broke or ran out of budget are
    taken out of both, so they cost nothing more. `last_look` asks for the scores of `state.x` after the
    last step, for attacks that look before they move. Returns the best point found for each row.

    A whole attack, random search that keeps a step which raises the margin:

        class State(NamedTuple):
            x: Tensor
            margin: Tensor

        @attack(needs={"scores"}, uses={"sample", "project"}, cites="Rastrigin 1963")
        def random_search(bout: Bout, *, steps: int = 100) -> Tensor:
            def start(live, restart):
                return State(live.x, live.margins(live.x))

            def step(live, state, k):
                x = live.region.project((state.x + live.region.sample(live.dice.draw(k))) / 2)
                margin = live.margins(x)
                better = margin > state.margin
                return State(where(better, x, state.x), where(better, margin, state.margin))

            return climb(bout, start, step, steps=steps)
    """
    for restart in range(restarts):
        live = bout.take(bout.unfinished())
        if not len(live):
            break
        state = start(live, restart)
        for k in range(bout.steps(steps)):
            live, state = drop_finished(live, state)
            if not len(live):
                break
            state = step(live, state, k)
        if last_look:
            live, state = drop_finished(live, state)
            if len(live):
                live.scores(state.x)  # type: ignore[attr-defined]
    return bout.best()


def drop_finished(bout: Bout, state: State) -> tuple[Bout, State]:
    """Bout and state without the rows that are broken or out of budget."""
    keep = bout.unfinished()
    if bool(keep.all()):
        return bout, state
    rows = keep.nonzero().squeeze(1)
    return bout.take(rows), take(state, rows)


def take(state: State, rows: Tensor) -> State:
    """The rows of every part of a state; parts that are None stay None, nested states are taken apart."""

    def part(value: Any) -> Any:
        if value is None:
            return None
        return take(value, rows) if isinstance(value, tuple) else value[rows]

    return type(state)(*(part(value) for value in state))
