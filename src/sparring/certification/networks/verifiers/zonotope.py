"""Bound the output by one forward pass of zonotopes, for comparison."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sparring.certification.networks.bounds.zonotope import SYMBOLS, zonotope_bounds
from sparring.certification.networks.chances import by_remaining_loss
from sparring.certification.networks.cost_model import forward_cost, open_signs
from sparring.certification.networks.state import VerificationState
from sparring.certification.networks.verifier import VerifierSchedule, verifier


def _misfit(state: VerificationState) -> str:
    return "" if state.query.inputs.is_box else "zonotopes need boxes as input sets"


def _cost(state: VerificationState, settings: Mapping[str, Any]) -> Tensor:
    network = state.query.network
    symbols = math.prod(network.input_shape) + sum(open_signs(state).values(), torch.zeros(len(state), dtype=torch.float64))
    return symbols * forward_cost(network)


@verifier(
    "zonotope", order=25, cites="Singh et al. 2018, Fast and effective robustness certification", misfit=_misfit, by_default=False, keeps_proofs=False,
    schedule=VerifierSchedule(cost=_cost, in_groups=True, after=("ibp",), chance=by_remaining_loss(0.45)),
)  # fmt: skip
def zonotope(state: VerificationState, *, symbols: int = SYMBOLS) -> None:
    """Bound the output by one forward pass of zonotopes.

    One forward pass; for comparison, as backward bounds are tighter. symbols: how many at most, more are tighter and slower.
    """
    query = state.query
    bounds, lower = zonotope_bounds(query.network, query.inputs, query.constraints, state.bounds, state.rounding, symbols=symbols)
    state.bounds = {**state.bounds, **bounds}
    state.improve(lower + query.offset)
