"""Bound every open neuron and then the output by backward linear relaxation (CROWN)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sparring.certification.networks.bounds.crown import lower, preactivation_bounds, relaxations
from sparring.certification.networks.chances import by_remaining_loss
from sparring.certification.networks.cost_model import crown_cost
from sparring.certification.networks.proof.write import plain_proofs
from sparring.certification.networks.state import VerificationState
from sparring.certification.networks.verifier import VerifierSchedule, verifier


def _cost(state: VerificationState, settings: Mapping[str, Any]) -> Tensor:
    return crown_cost(state)


@verifier(
    "crown", order=20, cites="Zhang et al. 2018, arXiv:1811.00866", efforts={"bounds": {}, "quick": {}},
    schedule=VerifierSchedule(cost=_cost, in_groups=True, after=("ibp",), chance=by_remaining_loss(0.3)),
)  # fmt: skip
def crown(state: VerificationState) -> None:
    """Bound all activations backward, then the rows (CROWN)."""
    query, network = state.query, state.query.network
    state.bounds = preactivation_bounds(network, query.inputs, state.bounds, state.rounding)
    rows = query.constraints.reshape(*query.constraints.shape[:2], *network.shapes[-1])
    found = lower(network, query.inputs, len(network.nodes) - 1, rows, relaxations(network, state.bounds), None, state.rounding)
    state.improve(found + query.offset, plain_proofs(query) if state.proofs else None)
