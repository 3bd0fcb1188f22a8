"""Optimise the lower slopes of ReLUs for each constraint on the output (alpha-CROWN).

See `bounds.alpha` for the bounds inside the network.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sparring.certification.networks.bounds.alpha import Tightened, tightened
from sparring.certification.networks.bounds.ascent import optimised
from sparring.certification.networks.bounds.crown import preactivation_bounds
from sparring.certification.networks.chances import by_remaining_loss
from sparring.certification.networks.cost_model import crown_cost, output_cost
from sparring.certification.networks.proof.form import ReluLeaf
from sparring.certification.networks.proof.write import SLACK, arrays, one_row, plain_leaves, tightenings, whole
from sparring.certification.networks.query import Query
from sparring.certification.networks.state import VerificationState
from sparring.certification.networks.verifier import VerifierSchedule, verifier

Leaves = list[dict[int, ReluLeaf]]
"""For each sample, by disjunct."""


def _cost(state: VerificationState, settings: Mapping[str, Any]) -> Tensor:
    last = output_cost(state)
    inner = crown_cost(state) - last if settings["inner_steps"] else torch.zeros(len(state), dtype=torch.float64)
    return 2.0 * settings["inner_steps"] * inner + 4.0 * settings["steps"] * last


@verifier(
    "alpha", order=30, cites="Xu et al. 2021, arXiv:2011.13824", efforts={"quick": {"steps": 20}},
    schedule=VerifierSchedule(
        cost=_cost, in_groups=True, after=("ibp", "crown"), share_before_search=0.5, chance=by_remaining_loss(0.85),
        as_fast_as=("crown", 2.0),  # slopes are sought in float32
    ),
)  # fmt: skip
def alpha(state: VerificationState, *, steps: int = 20, rate: float = 0.1, inner_steps: int = 10, inner_rate: float = 0.2) -> None:
    """Optimise slopes of the rows, then of every open neuron (alpha-CROWN).

    Slopes of the rows come first; for what that leaves open, slopes of every neuron of open sign, then of the rows again.

    Args:
        steps: Of the ascent on the slopes of the rows.
        rate: Of this ascent.
        inner_steps: Of the ascent for every neuron of open sign; 0 leaves it out.
        inner_rate: Of that ascent.
    """
    network = state.query.network
    if state.proofs:
        state.bounds = preactivation_bounds(network, state.query.inputs)  # the bounds that a proof starts from
    elif not state.bounds:  # the activations have no bounds yet
        state.bounds = preactivation_bounds(network, state.query.inputs, rounding=state.rounding)
    leaves = plain_leaves(state.query, state.bounds) if state.proofs else None
    leaves = _raise(state, steps, rate, leaves)
    if not len(state) or not inner_steps:
        return
    query, left = state.query, state.seconds_left()
    state.bounds, how = tightened(network, query.inputs, state.bounds, steps=inner_steps, rate=inner_rate, rounding=state.rounding, seconds=left)
    _raise(state, steps, rate, leaves, how)


def _raise(
    state: VerificationState, steps: int, rate: float, leaves: list[dict[int, ReluLeaf]] | None, how: Sequence[Tightened] = ()
) -> list[dict[int, ReluLeaf]] | None:
    """Improve the bounds of the open rows. leaves: per sample, results that a proof can state; only those of the remaining samples."""
    query, network = state.query, state.query.network
    wanted = ~query.settled(state.lower) if leaves is None else _unproved(query, leaves)
    sample, row = wanted.nonzero(as_tuple=True)
    if not len(sample):
        if leaves is not None:
            proofs = whole(query, leaves, how)
            state.prove(torch.tensor([place in proofs for place in range(len(state))], dtype=torch.bool), proofs)
            leaves = [leaf for place, leaf in enumerate(leaves) if place not in proofs]
        return leaves
    slack = 0.0 if leaves is None else SLACK
    rows, offset = query.constraints[sample, row].reshape(-1, *network.shapes[-1]), query.offset[sample, row]
    found = optimised(
        network, query.inputs, len(network.nodes) - 1, rows, state.bounds, samples=sample, steps=steps, rate=rate, stop=slack - offset, rounding=state.rounding
    )
    lower = torch.full_like(state.lower, -math.inf)
    lower[sample, row] = found.lower + offset
    if leaves is None:
        state.improve(lower)
        return None
    for job in (lower[sample, row] > slack).nonzero().squeeze(1).tolist():
        where, one = int(sample[job]), int(row[job])
        leaf = one_row(query, where, one, arrays(found.slopes, job), len(tightenings(how, where)))
        leaves[where].setdefault(leaf.disjunct, leaf)
    proofs = whole(query, leaves, how)
    before = state.places
    proved = torch.tensor([place in proofs for place in range(len(state))], dtype=torch.bool)
    state.lower = torch.maximum(state.lower, lower)
    state.prove(proved, proofs)
    return [leaves[row] for row in torch.isin(before, state.places).nonzero().squeeze(1).tolist()]


def _unproved(query: Query, leaves: Leaves) -> Tensor:
    """bool [n, r]: rows of disjuncts without a leaf."""
    wanted = query.disjunct >= 0
    for sample, mine in enumerate(leaves):
        for disjunct in mine:
            wanted[sample] &= query.disjunct[sample] != disjunct
    return wanted
