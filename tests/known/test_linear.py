"""Promise 8 on linear models: how much of the highest reachable margin an attack gets, and whether it breaks what can be broken.

The optimum is known exactly for every ball cut with the box. Each attack states the share of the way from the clean margin to
the best one that it covers, and the factor on the smallest adversarial radius at which it must have broken a sample.
"""

import functools
from typing import NamedTuple

import numpy as np
import pytest
import torch
from support import COUNT, Planted
from torch import nn

from sparring.core.registry import find
from sparring.domains.image import Image
from sparring.models.torch import TorchVictim


class Strength(NamedTuple):
    """share: of the gain from the clean margin to the optimum, between two classes. factor: on the exact distance at which every
    sample has broken. to_target: that factor toward one of three classes, where the goal has a kink that no loss but a targeted one sees."""

    settings: dict
    share: float
    factor: float
    to_target: float


STRENGTH = {
    ("fgsm", "linf"): Strength({"loss": "margin"}, 1.00, 1.0001, 3.01),
    ("pgd", "linf"): Strength({"steps": 40, "loss": "margin"}, 0.999, 1.001, 1.35),
    ("apgd", "linf"): Strength({"steps": 50}, 0.999, 1.12, 1.05),
    ("apgd_t", "linf"): Strength({"steps": 50}, 0.999, 1.001, 1.02),
    ("square", "linf"): Strength({"queries": 600}, 0.99, 1.01, 1.35),
    ("pgd", "l2"): Strength({"steps": 40, "loss": "margin"}, 0.97, 1.06, 1.25),
    ("apgd", "l2"): Strength({"steps": 50}, 0.999, 1.03, 1.06),
    ("apgd_t", "l2"): Strength({"steps": 50}, 0.999, 1.001, 1.02),
    ("pgd", "l1"): Strength({"steps": 60, "loss": "margin"}, 0.99, 1.1, 1.3),
    ("apgd", "l1"): Strength({"steps": 50}, 0.99, 1.15, 1.3),
    ("apgd_t", "l1"): Strength({"steps": 50}, 0.99, 1.05, 1.3),
}
WEAK = {("pgd", 3, True, True), ("apgd_t", 3, True, True)}
"""Variants in which an L1 attack misses its factor: the box is active and one of three classes has to be reached. They are expected to
fail, strictly, so that an improvement is noticed here."""


@functools.cache
def planted(kind, classes, box, targeted):
    return Planted(kind, classes, box, targeted=targeted)


def points_of(name, settings, task, radius, budget=None):
    """Flat points [COUNT, d] of an attack with a radius per sample."""
    threat = task.threat(torch.as_tensor(radius, dtype=torch.float64))
    threat = threat if budget is None else threat.within(queries=budget)
    points = find("attack", name)(task.victim, task.batch, task.labels, threat, task.rng, **settings)
    return points.reshape(COUNT, -1).numpy()


def broken(name, settings, task, radius, budget=None):
    points = points_of(name, settings, task, radius, budget)
    return np.array([task.margin(row, points[row]) for row in range(COUNT)]) > 0


@pytest.mark.few(2, by="name")
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("box", [False, True])
@pytest.mark.parametrize(("name", "kind"), STRENGTH)
def test_share_of_the_optimum(name, kind, box, targeted):
    """Where nothing can break (half the distance), the best point between two classes reaches the stated share of the optimal gain
    and never more than all of it."""
    settings, share, _, _ = STRENGTH[name, kind]
    task = planted(kind, 2, box, targeted)
    radius = 0.5 * task.distances
    points = points_of(name, settings, task, radius)
    for row in range(COUNT):
        clean, reached, best = task.margin(row, task.x[row]), task.margin(row, points[row]), task.best_margin(row, radius[row])
        assert clean < best < 0
        assert reached <= best + 1e-6 * abs(best)
        assert (reached - clean) >= share * (best - clean) - 1e-9, f"sample {row}: {(reached - clean) / (best - clean):.4f} of the optimum"


VARIANTS = [(classes, box, targeted) for classes in (2, 3) for box in (False, True) for targeted in (False, True)]


@pytest.mark.few(4, by="name")
@pytest.mark.parametrize(("classes", "box", "targeted"), VARIANTS)
@pytest.mark.parametrize(("name", "kind"), STRENGTH)
def test_breaks_what_can_be_broken(name, kind, classes, box, targeted, request):
    """At the stated factor above the exact distance every sample breaks; just below it none does."""
    if kind == "l1" and (name, classes, box, targeted) in WEAK:
        request.applymarker(pytest.mark.xfail(strict=True, reason="L1 steps are shared out by size of gradient, not by what the target needs"))
    settings, _, factor, to_target = STRENGTH[name, kind]
    task = planted(kind, classes, box, targeted)
    assert np.isfinite(task.distances).all()
    if box and not targeted:
        assert not broken(name, settings, task, task.distances * 0.999).any()
    fell = broken(name, settings, task, task.distances * (to_target if targeted and classes > 2 else factor))
    assert fell.all(), f"{name} leaves distances {task.distances[~fell]}"


@pytest.mark.parametrize(("kind", "factor"), [("l2", 1.10), ("linf", 1.35), ("l1", 1.6)])
def test_hopskipjump_comes_near_the_boundary(kind, factor):
    """With 2,000 labels a sample HopSkipJump gets within 10 % of the exact L2 distance to a plane (Linf and L1, which it follows
    less well: the stated factors), and never below it."""
    task = planted(kind, 2, False, False)
    settings = {"steps": 40, "probes": 40}
    assert broken("hopskipjump", settings, task, task.distances * factor, budget=2000).all()
    assert not broken("hopskipjump", settings, task, task.distances * 0.999, budget=500).any()


class Wave(nn.Module):
    """A margin that rises and falls along the way and never breaks."""

    def forward(self, x):
        rise = torch.sin(9 * x.flatten(1).sum(1))
        return torch.stack([torch.full_like(rise, 2.0), rise], 1)


def test_best_is_returned_not_last():
    """Where the margin rises and falls, what PGD returns is the best point it asked about, by its own answers."""
    net = Wave()
    task, seen = planted("linf", 2, False, False), []
    victim = TorchVictim(net, Image((1, 4, 4)), search="plain")
    net.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].detach().clone(), output.detach().clone())))
    settings = {"steps": 12, "step_size": 0.7, "loss": "ce", "restarts": 2}
    points = find("attack", "pgd")(victim, task.batch, [0] * COUNT, task.threat(0.1), task.rng, **settings)
    margins = torch.stack([scores[:, 1] - scores[:, 0] for _, scores in seen])
    best = margins.argmax(0).tolist()
    assert len(margins) == 26
    assert sum(turn not in (0, 12, 25) for turn in best) >= COUNT // 2  # neither first nor last, else this tests nothing
    for row in range(COUNT):
        assert torch.allclose(points[row].double(), seen[best[row]][0][row].double(), atol=1e-6)


def test_restarts_start_elsewhere():
    """Every restart of PGD, APGD and square begins at a point of its own."""
    task = planted("linf", 3, True, False)
    for name, per_restart in (("pgd", 3), ("apgd", 3), ("square", 3)):
        seen = []
        handle = task.net.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(inputs[0].detach().clone()))
        settings = {"queries": 3, "restarts": 3} if name == "square" else {"steps": 2, "restarts": 3}
        try:
            find("attack", name)(task.victim, task.batch, task.labels, task.threat(0.001), task.rng, **settings)
        finally:
            handle.remove()
        starts = seen[::per_restart]
        assert len(starts) == 3
        assert not torch.equal(starts[0], starts[1])
        assert not torch.equal(starts[1], starts[2])
