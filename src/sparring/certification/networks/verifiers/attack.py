"""Search for counterexamples by descent on the margin."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sparring.certification.networks.chances import room
from sparring.certification.networks.cost_model import forward_cost
from sparring.certification.networks.falsify import descend, starting_points
from sparring.certification.networks.state import VerificationState
from sparring.certification.networks.verifier import VerifierSchedule, verifier


def _cost(state: VerificationState, settings: Mapping[str, Any]) -> Tensor:
    passes = 3.0 * settings["steps"] * settings["restarts"]
    return torch.full((len(state),), passes * forward_cost(state.query.network), dtype=torch.float64)


def _chance(state: VerificationState) -> Tensor:
    return torch.sigmoid((0.15 - room(state)) / 0.1)


@verifier(
    "attack", order=5, cites="Madry et al. 2018, arXiv:1706.06083, on the margin of the query",
    schedule=VerifierSchedule(cost=_cost, capped=False, in_groups=True, share=0.5, chance=_chance),
)  # fmt: skip
def attack(state: VerificationState, *, steps: int = 30, restarts: int = 4) -> None:
    """Search for counterexamples by descent on the margin.

    It begins in the middle, then at random points of the set, and goes against all disjuncts in turn.

    Args:
        steps: Per start.
        restarts: Starts at random points.
    """
    if len(state):
        starts = starting_points(state.query, state.places, restarts, state.seed)
        state.refute(descend(state.query, starts, steps))
