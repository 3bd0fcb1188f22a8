"""Propagate intervals from the inputs to the output (IBP), the cheapest bounds."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sparring.certification.networks.bounds.interval import intervals, margins
from sparring.certification.networks.cost_model import forward_cost
from sparring.certification.networks.state import VerificationState
from sparring.certification.networks.verifier import VerifierSchedule, verifier


def _cost(state: VerificationState, settings: Mapping[str, Any]) -> Tensor:
    return torch.full((len(state),), 2 * forward_cost(state.query.network), dtype=torch.float64)


@verifier(
    "ibp", order=10, cites="Gowal et al. 2018, arXiv:1810.12715", efforts={"bounds": {}, "quick": {}}, schedule=VerifierSchedule(cost=_cost, capped=False)
)  # fmt: skip
def ibp(state: VerificationState) -> None:
    """Propagate intervals with the last layer elided."""
    query = state.query
    values = intervals(query.network, query.inputs, state.bounds, state.rounding)
    state.bounds = {before: values[before] for activation in query.network.nonlinearities for before in query.network.nodes[activation].inputs}
    last = len(query.network.nodes) - 1
    if not state.rounding or last not in state.rounding:
        state.improve(margins(query.network, values, query.constraints) + query.offset)
