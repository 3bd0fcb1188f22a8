"""Bound the output by its value in the middle of the set and the steepest slope anywhere in it (Fast-Lip)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

import sparring_example.slopes as steepness
from sparring.certification.networks.bounds.inputs import ROUNDING
from sparring.certification.networks.cost_model import feeding, forward_cost
from sparring.certification.networks.state import VerificationState
from sparring.certification.networks.verifier import VerifierSchedule, verifier


def misfit(state: VerificationState) -> str:
    """Return why these queries cannot be served, or an empty string."""
    if state.rounding is not None:
        return "slopes are those of the network in real arithmetic"
    if not state.query.inputs.is_box:
        return "the set of inputs is no box"
    if name := steepness.unknown(state.query.network):
        return f"no slope is propagated through {name}"
    return ""


def _cost(state: VerificationState, settings: Mapping[str, Any]) -> Tensor:
    """Middle and radius of every row go back through the network once."""
    rows = state.query.constraints.shape[1]
    return torch.full((len(state),), 2 * (1 + rows) * forward_cost(state.query.network), dtype=torch.float64)


@verifier(
    "fast_lip", order=15, cites="Weng et al. 2018, arXiv:1804.09699", misfit=misfit, keeps_proofs=False, efforts={"bounds": {}, "quick": {}},
    schedule=VerifierSchedule(cost=_cost, after=("ibp",)),
)  # fmt: skip
def fast_lip(state: VerificationState) -> None:
    """Bound the output by its value in the middle of the box and the steepest slope in it."""
    query = state.query
    found = steepness.slopes(query.network, feeding(state), query.constraints)
    middle, half = query.inputs.middle, (query.inputs.high - query.inputs.low) / 2
    reach = half + ROUNDING * torch.maximum(query.inputs.low.abs(), query.inputs.high.abs())
    fall = ((found.middle.abs() + found.radius) * reach[:, None]).flatten(2).sum(2)
    state.improve(query.at(middle) - (1 + ROUNDING) * fall)
