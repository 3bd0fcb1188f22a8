"""Greedy word substitution: rank the words by importance, replace them one after the other."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem
from sparring.domains.text import Strings, with_word


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: strings [m]. loss: float64 [m]. order: int64 [m, p], places by importance, -1 where there are no more. used: int64
    [m], words replaced so far.
    """

    x: Strings
    loss: Tensor
    order: Tensor
    used: Tensor


@attack(
    needs={"scores"},
    uses={"substitutes", "places", "most"},
    cites="Jin et al. 2020 (TextFooler), arXiv:1907.11932; Yoo et al. 2020, arXiv:2009.06368 on search order",
)
def greedy(problem: Problem, *, ranking: Literal["delete", "best", "both"] = "both") -> Strings:
    """Replace words by allowed substitutes, the most important words first.

    Args:
        ranking: "delete" ranks a word by how far the margin moves when it is left out (one query a word); "best" by its
            best substitute (one query a substitute), which is exact where words act independently; "both" tries the
            second on the sentences that stand after the first.

    Source: Jin et al. 2020 (TextFooler), arXiv:1907.11932; Yoo et al. 2020, arXiv:2009.06368 on search order.

    Differs from TextFooler: the substitutes and the share of words are the threat's, so there are no
    similarity models; and a substitute is taken only if it raises the margin.
    """
    rankings = ("delete", "best") if ranking == "both" else (ranking,)

    def start(live: Problem, restart: int) -> State:
        loss = live.losses(live.x).double()
        order = _ranked(live, loss, rankings[restart])
        return State(live.x.copy(), loss, order, torch.zeros(len(live), dtype=torch.int64))

    def step(live: Problem, state: State, k: int) -> State:
        region = cast(Any, live.region)
        if k >= state.order.shape[1]:
            return state
        open_ = (state.used < region.most()) & (state.order[:, k] >= 0)
        pairs = [(row, place) for row, place in enumerate(state.order[:, k].tolist()) if bool(open_[row])]
        owner, texts = _replaced(state.x, [(row, place, word) for row, place in pairs for word in region.substitutes(row, place)])
        if not len(owner):
            return state
        losses = live.losses(texts, owner).double()
        x, loss, used = state.x.copy(), state.loss.clone(), state.used.clone()
        for at, (row, value) in enumerate(zip(owner.tolist(), losses.tolist(), strict=True)):
            if value > loss[row]:
                used[row] = state.used[row] + 1
                loss[row], x[row] = value, texts[at]
        return State(x, loss, state.order, used)

    longest = max([0, *(len(one.split()) for one in problem.x)])
    return iterate(problem, start, step, steps=longest, restarts=len(rankings))


def _ranked(problem: Problem, loss: Tensor, ranking: str) -> Tensor:
    """Return the places of each row that have substitutes, int64 [m, p], most important first, padded with -1."""
    region = cast(Any, problem.region)
    places = [region.places(row) if stands else [] for row, stands in enumerate(problem.unfinished().tolist())]
    if ranking == "delete":
        asked = [(row, place, None) for row, own in enumerate(places) for place in own]
    else:
        asked = [(row, place, word) for row, own in enumerate(places) for place in own for word in region.substitutes(row, place)]
    order = torch.full((len(problem), max([1, *map(len, places)])), -1, dtype=torch.int64)
    if not asked:
        return order
    owner, texts = _replaced(problem.x, asked)
    moved = problem.losses(texts, owner, probe=True).double() - loss[owner]
    gain: dict[tuple[int, int], float] = {}
    for (row, place, _), value in zip(asked, moved.nan_to_num(nan=-torch.inf).tolist(), strict=True):
        gain[row, place] = max(gain.get((row, place), -torch.inf), value)
    for row, own in enumerate(places):
        ranked = sorted(own, key=lambda place: (-gain[row, place], place))
        order[row, : len(ranked)] = torch.tensor(ranked, dtype=torch.int64)
    return order


def _replaced(x: Strings, changes: Sequence[tuple[int, int, str | None]]) -> tuple[Tensor, Strings]:
    """Return (owner [k], texts [k]), one text per change (row, place, new word or None to leave it out)."""
    texts = [with_word(x[row], place, word) or " " for row, place, word in changes]
    return torch.tensor([row for row, _, _ in changes], dtype=torch.int64), Strings.of(texts)
