"""Victims answer row by row."""

import pytest
import torch
from support import ARENAS

from sparring.attacks.losses import margin


@pytest.mark.parametrize("arena", ["linf", "l2", "columns-l2"])
def test_a_gradient_belongs_to_its_sample(arena):
    """The gradient of a sample is that of its own value, the same alone and in company, and the slope that a small step shows."""
    arena = ARENAS[arena]
    reference = arena.threat.goal.reference(arena.y, arena.dice(), 3)
    x = arena.x.double()
    with arena.victim.session():
        together = arena.victim.gradient(x, lambda scores: margin(scores, reference))
        for row in range(len(x)):
            own = torch.tensor([row])
            alone = arena.victim.gradient(x[own], lambda scores, own=own: margin(scores, reference.take(own)))
            assert torch.allclose(alone.grad[0], together.grad[row], atol=1e-10)
        way = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e-6
        ahead, behind = (margin(arena.victim.scores(x + step), reference) for step in (way, -way))
        slope = (together.grad * way).flatten(1).sum(1)
        assert torch.allclose((ahead - behind) / 2, slope, rtol=1e-3, atol=1e-12)
