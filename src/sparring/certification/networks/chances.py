"""Heuristic chances that a verifier decides open queries; they affect only the schedule.

A verifier is assumed to regain a share of what a bound has lost against the margin at the middle of the set.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sparring.certification.networks.cost_model import open_signs
from sparring.certification.networks.state import VerificationState

Chance = Callable[[VerificationState], Tensor]
"""float64 [n], in [0, 1]: the chance that each open query is settled."""

FEW_SIGNS = 150.0
"""Number of unstable neurons at which a complete search has lost much of its chance."""


def room(state: VerificationState) -> Tensor:
    """Return the share of what the best bound has lost that a verifier may leave lost.

    Below 0 where the middle is unsafe, float64 [n].
    """
    query = state.query
    middle = query.margin(query.at(query.inputs.middle))
    lower = state.margin
    known = torch.isfinite(lower)
    lost = torch.where(known, middle - lower, 1.0).clamp_min(1e-12)
    return torch.where(known, middle / lost, 0.5).clamp(-1.0, 1.0)


def even(state: VerificationState) -> Tensor:
    """Return one half where the middle of the set is safe, for verifiers of unknown strength."""
    return torch.where(room(state) > 0, 0.5, 0.0)


def by_remaining_loss(share: float) -> Chance:
    """Return the chance of a verifier that leaves this share of the best bound's loss."""

    def chance(state: VerificationState) -> Tensor:
        left = room(state)
        return torch.sigmoid((left - share) / 0.1) * (left > 0)

    return chance


def complete(state: VerificationState) -> Tensor:
    """Return the chance of a complete search, which decreases with the number of open signs."""
    left = room(state)
    signs = sum(open_signs(state).values(), torch.zeros_like(left))
    return torch.exp(-signs / FEW_SIGNS) * (left > 0)
