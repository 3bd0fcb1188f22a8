"""Victims of every adapter answer row by row, say what the user's own model says, and leave everything else as it was."""

import random

import numpy as np
import pytest
import torch
from support import ARENAS, BATCH

from sparring.attacks.losses import margin
from sparring.core.errors import InputError
from sparring.core.registry import everything
from sparring.tasks.classes import Classes


@pytest.mark.parametrize("name", everything("adapter"))
def test_every_adapter_has_an_arena(name):
    """A new one brings its own, so that the laws reach it."""
    reached = {type(ARENAS[arena].victim) for arena in ARENAS}
    assert everything("adapter")[name].wrap in reached, f"no arena has a victim of {name}: register one with @arena, see tests/support.py"


@pytest.mark.parametrize("arena", ARENAS.attacked())
def test_labels_are_those_of_the_users_own_model(arena):
    """In any batch and any order, by labels and by scores."""
    arena = ARENAS[arena]
    expected = arena.own(arena.x).tolist()
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    with arena.victim.session():
        assert arena.victim.label(arena.x).tolist() == expected
        assert [int(arena.victim.label(arena.x[row : row + 1])) for row in range(BATCH)] == expected
        assert arena.victim.label(arena.x[order]).tolist() == [expected[row] for row in order.tolist()]
        scores = arena.victim.scores(arena.x)
        assert scores.shape == (BATCH, arena.victim.classes)
        assert arena.victim.decide(arena.x, scores).tolist() == expected
        alone = torch.cat([arena.victim.scores(arena.x[row : row + 1]) for row in range(BATCH)])
    assert torch.allclose(alone, scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arena", ARENAS.attacked())
def test_lists_and_arrays_are_inputs_too(arena):
    """They have the answers of the batch that the domain makes of them; what cannot be inputs is refused by the domain."""
    arena = ARENAS[arena]
    listed = arena.x.tolist()
    for method in ("scores", "search_scores", "answer", "label"):
        ask = getattr(arena.victim, method)
        with arena.victim.session():
            expected, found = ask(arena.x), [ask(given) for given in (listed, np.array(listed))]
        for one in found:
            assert torch.allclose(one.double(), expected.double(), rtol=1e-4, atol=1e-4)
    if "gradients" in arena.victim.exposes:
        with arena.victim.session():
            expected, found = (arena.victim.gradient(given, lambda scores: scores[:, 0]).value for given in (arena.x, listed))
        assert torch.allclose(found.double(), expected.double(), rtol=1e-4, atol=1e-4)
    for wrong in (None, 5, object()):
        with pytest.raises(InputError, match=r"give|convert"):
            arena.victim.scores(wrong)


@pytest.mark.parametrize("arena", ARENAS.attacked())
def test_a_question_changes_nothing(arena):
    """Neither the batch, nor the global generators, nor the fingerprint, nor the answer to the next one."""
    arena = ARENAS[arena]
    before = random.getstate(), str(np.random.get_state()), torch.random.get_rng_state().tolist()
    values, fingerprint = np.asarray(arena.x).copy(), arena.victim.fingerprint
    with arena.victim.session():
        first = arena.victim.scores(arena.x)
        with arena.victim.session():
            assert torch.equal(arena.victim.scores(arena.x), first)
        assert torch.equal(arena.victim.scores(arena.x), first)
    assert np.array_equal(np.asarray(arena.x), values)
    assert arena.victim.fingerprint == fingerprint
    assert before == (random.getstate(), str(np.random.get_state()), torch.random.get_rng_state().tolist())


@pytest.mark.parametrize("arena", ARENAS.attacked())
def test_equal_models_have_equal_fingerprints(arena):
    """A victim that is made anew is the same to the record."""
    assert ARENAS.recipes[arena].make(arena).victim.fingerprint == ARENAS[arena].victim.fingerprint


@pytest.mark.parametrize(("arena", "step", "near"), [("linf", 1e-6, 1e-3), ("l2", 1e-6, 1e-3), ("columns-l2", 1e-6, 1e-3), ("onnx", 1e-3, 2e-2)])
def test_a_gradient_belongs_to_its_sample(arena, step, near):
    """The gradient of a sample is that of its own value, the same alone and in company, and the slope that a small step shows."""
    arena = ARENAS[arena]
    criterion = arena.threat.goal.freeze(arena.y, Classes(3), arena.rng())
    x = arena.x.double() if step < 1e-5 else arena.x
    with arena.victim.session():
        together = arena.victim.gradient(x, lambda scores: margin(scores, criterion))
        for row in range(len(x)):
            own = torch.tensor([row])
            alone = arena.victim.gradient(x[own], lambda scores, own=own: margin(scores, criterion.take(own)))
            assert torch.allclose(alone.grad[0], together.grad[row], atol=1e-10 if step < 1e-5 else 1e-5)
        way = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype) * step
        ahead, behind = (margin(arena.victim.scores(x + one), criterion) for one in (way, -way))
        slope = (together.grad * way).flatten(1).sum(1)
        assert torch.allclose((ahead - behind).double() / 2, slope.double(), rtol=near, atol=step * 1e-3 if step > 1e-5 else 1e-12)
