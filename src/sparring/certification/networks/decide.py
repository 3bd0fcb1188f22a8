"""Decides queries: cheap verifiers first, each on the queries that are still open.

Without a limit of time the order is fixed and the answers depend on no clock. With one, see `scheduler`.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from sparring.certification.networks.bounds.interval import Rounding
from sparring.certification.networks.portfolio import Step, portfolio
from sparring.certification.networks.query import Query
from sparring.certification.networks.scheduler import run_by_estimate
from sparring.certification.networks.state import QueryAnswer, Replay, VerificationState

WORK = 2e11
"""Multiply-adds per sample that one verifier may take without a time limit: about a minute on one core."""


def decide(
    query: Query, *, seconds: float | None = None, verifiers: Mapping[str, Mapping[str, Any]] | Sequence[str] | None = None, replay: Replay | None = None,
    proofs: bool = False, rounding: Rounding | None = None, seed: int = 0, work: float | None = WORK,
) -> list[QueryAnswer]:  # fmt: skip
    """Return answers to all queries, in their order.

    seconds: for all of them together. verifiers: see `portfolio`. replay: confirms counterexamples on the model as it is deployed; without it float64
    decides. proofs: keep what a proof file is made of. rounding: see `bounds.execution`. seed: of random starting points. work: multiply-adds a
    sample above which a verifier is left out where `seconds` is None; None for no limit.
    """
    steps = portfolio(verifiers)  # before the clock starts, because it imports the verifiers
    state = VerificationState(query, replay, None if seconds is None else time.monotonic() + seconds, proofs, rounding, seed)
    if reason := _unfit(query):
        state.note(reason)
        return state.close()
    with torch.no_grad():
        if seconds is None:
            _in_order(state, steps, work)
        else:
            run_by_estimate(state, steps)
        _what_more(state, {one.name for one, _ in steps})
    return state.close()


def _in_order(state: VerificationState, steps: list[Step], limit: float | None) -> None:
    for one, settings in steps:
        if not len(state):
            return
        if not one.fits(state):
            continue
        expected = one.cost(state, settings) if one.schedule.capped else None
        if limit is None or expected is None or bool((expected <= limit).all()):
            one.run_all(state, settings)
            continue
        expensive = expected > limit
        cure = 'give seconds=, or effort="thorough"'
        state.note_each(f"work: {one.name} would need about {{:.1e}} multiply-adds, the limit is {limit:.0e}: {cure}", expected, expensive)
        if not bool(expensive.all()):
            one.run_on(state, settings, ~expensive)


def _what_more(state: VerificationState, asked: set[str]) -> None:
    """Note, for queries without a reason, what the next bound would cost."""
    silent = state.without_reason()
    if not bool(silent.any()):
        return
    for one, _ in portfolio():
        expected = one.cost(state, {}) if one.schedule.capped and one.name not in asked else None
        if expected is not None:
            reason = f"bounds: the methods that ran are not tight enough; {one.name} would need about {{:.1e}} multiply-adds"
            state.note_each(reason, expected, silent)
            return


def _unfit(query: Query) -> str:
    """Return why these queries cannot be decided, or an empty string."""
    inputs = query.inputs
    if not bool(torch.isfinite(inputs.low).all() & torch.isfinite(inputs.high).all()):
        return "input: some inputs have no bounds"
    if bool((inputs.low > inputs.high).any()):
        return "input: the input set is empty, because a lower bound is above its upper bound"
    if not query.network.finite:
        return "numerics: the network has weights that are NaN or infinite"
    return ""
