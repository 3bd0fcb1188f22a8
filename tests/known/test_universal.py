"""Universal changes: one for all samples, learned on some, measured on others."""

import json

import pytest
import torch
from support import ARENAS, Instrumented, tiny_net
from torch import nn

from sparring.aims.evasion.choice import choose
from sparring.attacks.evasion.universal.forms import Added, Laid
from sparring.attacks.evasion.universal.universal import Universal, universal
from sparring.bench.api import evaluate
from sparring.core.errors import InputError, LoadError, NeedsError, PlanError
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.domains.table import Column, Table
from sparring.models.torch import TorchVictim
from sparring.threats.balls import L1, L2, Linf
from sparring.threats.goals import Targeted, Untargeted
from sparring.threats.patch import Patch

SHAPE = (1, 6, 6)


def samples(count, seed=3):
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.4 + 0.3


def linear(seed=4, classes=2):
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, classes)).double()
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        net[1].weight.copy_(torch.randn(classes, 36, generator=random))
        net[1].bias.copy_(-net[1].weight.sum(1) * 0.5)  # both classes near the middle of the cube
    return TorchVictim(net, Image(SHAPE), name="linear", search="plain")


@pytest.fixture(scope="module")
def data():
    victim, x = linear(), samples(60)
    return victim, x, victim.label(x)


@pytest.mark.parametrize("space", [Linf(0.08), L2(0.4), L1(0.9)])
def test_to_one_side_of_a_linear_model_the_optimum_is_known(data, space):
    """Toward class 1 every sample gains most along w1 - w0: sign, direction or largest coordinate, by its dual norm times the radius."""
    victim, x, y = data
    threat = Threat(space, Targeted(1))
    found = universal(victim, x, y, threat, epochs=30, batch=20, cap=1e9)
    w = victim.module[1].weight[1] - victim.module[1].weight[0]
    most = {"linf": w.abs().sum(), "l2": w.norm(), "l1": w.abs().max()}[space.kind] * space.radius
    gained = (found.perturbation.flatten() * w).sum()
    assert gained <= most * (1 + 1e-6)
    assert gained >= most * (0.9 if space.kind == "l1" else 0.97)  # a step in L1 goes along two coordinates of 36, not one
    gap = (w * x.flatten(1)).sum(1) + victim.module[1].bias[1] - victim.module[1].bias[0]
    zero = y == 0
    assert found.trained.n + found.held_out.n == int(zero.sum())
    reached = (gap[zero] + gained > 0).double().mean()  # nothing is cut off: all values lie far enough from the bounds
    assert abs(found.rate(victim, x, y, threat).value - float(reached)) < 1e-9


def test_held_out_samples_are_not_trained_on_and_counted_apart(data):
    victim, x, y = data
    found = universal(victim, x, y, Threat(Linf(0.05), Untargeted()), epochs=3)
    assert (found.trained.n, found.held_out.n) == (48, 12)
    changed = x.clone()
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    changed[order[:12]] = samples(12, seed=9)
    again = universal(
        victim, changed, torch.where(torch.isin(torch.arange(60), order[:12]), victim.label(changed), y), Threat(Linf(0.05), Untargeted()), epochs=3
    )
    assert torch.equal(again.perturbation, found.perturbation)
    assert again.sha256 != found.sha256  # it was learned on other data all the same


def test_it_is_decided_by_its_seed_and_leaves_the_global_state_alone(data):
    victim, x, y = data
    threat = Threat(Linf(0.05), Untargeted())
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = universal(victim, x, y, threat, epochs=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    same, other = universal(victim, x, y, threat, epochs=3), universal(victim, x, y, threat, epochs=3, seed=1)
    assert one.sha256 == same.sha256 != other.sha256
    assert torch.equal(one.perturbation, same.perturbation)


def test_every_sample_gets_the_same_change_in_any_batch():
    """x' - x is one tensor, up to what the box cuts off; batches, order and neighbours do not show; one query a sample."""
    arena = ARENAS["linf"]
    found = universal(arena.victim, arena.x, arena.y, arena.threat, epochs=2, held_out=0.0)
    victim = Instrumented(arena.victim)
    points = found.attack()(victim, arena.x, arena.y, arena.threat)
    expected = (arena.x + found.perturbation).clamp(0, 1)
    assert torch.allclose(points, expected, atol=1e-6)
    assert victim.asked == len(arena.x)
    assert torch.equal(found.attack()(arena.victim, arena.x, arena.y, arena.threat, batch=1), points)
    assert torch.equal(found.attack()(arena.victim, arena.x.flip(0), arena.y.flip(0), arena.threat).flip(0), points)


@pytest.mark.parametrize("name", ["linf-two-classes", "linf-targeted", "linf-8bit", "l2", "l1", "patch", "patch-two-classes"])
def test_points_are_allowed(name):
    """Whatever the radius of each sample, 0 included, and from wherever the change comes."""
    arena = ARENAS[name]
    radius = arena.threat.space.radius
    one = arena.threat.at(float(radius.max())) if isinstance(radius, torch.Tensor) else arena.threat
    found = universal(arena.victim, arena.x, arena.y, one, epochs=2, held_out=0.0)
    points = found.attack().configure(tries=3)(arena.victim, arena.x, arena.y, arena.threat, arena.rng())
    points = arena.victim.domain.deploy(points, arena.x)
    for before, after, allowed in zip(arena.x, points, arena.radii(), strict=True):
        assert arena.allowed(before, after, allowed)


def test_a_patch_lies_in_one_square_and_shows_its_colours():
    """Unturned, the patch of a region of the same size is copied exactly."""
    x, patch = samples(5), torch.rand(1, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    put = Laid(0.0, 1.0).put(patch, x, Image(SHAPE), Rng.of(0, range(5)))
    for before, after in zip(x, put, strict=True):
        rows, columns = (before != after)[0].nonzero().T
        top, left = int(rows.min()), int(columns.min())
        assert torch.allclose(after[:, top : top + 3, left : left + 3], patch)
        assert int((before != after).sum()) == 9
    turned = Laid(45.0, 0.5).put(patch, x, Image(SHAPE), Rng.of(0, range(5)))
    assert all(int((before != after).sum()) <= 9 for before, after in zip(x, turned, strict=True))
    assert int((x != turned).sum()) < 40


def test_more_tries_reach_more():
    """A network that sees one corner only: a white patch must come to lie there."""

    class Corner(nn.Module):
        def forward(self, x):
            lit = x[:, 0, 0, 0]
            return torch.stack([0.9 - lit, lit - 0.9], 1) * 20

    victim, x = TorchVictim(Corner(), Image(SHAPE), search="plain"), samples(40)
    y, threat = torch.zeros(40, dtype=torch.int64), Threat(Patch(3.0), Untargeted())
    found = universal(victim, x, y, threat, epochs=20, batch=8, rotation=0.0, smallest=1.0)
    assert float(found.perturbation[0, 0, 0]) > 0.9
    once, often = found.rate(victim, x, y, threat), found.rate(victim, x, y, threat, tries=80)
    assert once.value < 0.3 < 0.9 < often.value  # one place in 16 is right
    victim = Instrumented(victim)
    found.attack().configure(tries=80)(victim, x[:1], y[:1], threat.within(queries=7))
    assert victim.asked <= 7


def test_what_is_saved_is_what_is_loaded(data, tmp_path):
    victim, x, y = data
    found = universal(victim, x, y, Threat(Linf(0.05), Untargeted()), epochs=2)
    read = Universal.load(found.save(tmp_path / "one.safetensors"))
    assert read.sha256 == found.sha256
    assert torch.equal(read.perturbation, found.perturbation)
    assert str(read.attack()) == str(found.attack())
    assert read.held_out == found.held_out
    (tmp_path / "two.safetensors").write_bytes(b"something else")
    with pytest.raises(LoadError, match="cannot be read"):
        Universal.load(tmp_path / "two.safetensors")


def test_the_record_tells_what_was_learned(data, tmp_path):
    """Two universals stand in one run under keys of their own; the description holds the hash and survives JSON."""
    victim, x, y = data
    threat = Threat(Linf(0.05), Untargeted())
    one, two = (universal(victim, x, y, threat, epochs=2, seed=seed) for seed in (0, 1))
    assert json.loads(json.dumps(one.attack().describe()))["learned"]["sha256"] == one.sha256
    assert len(choose([one.attack(), two.attack(), "pgd"], victim, threat)) == 3
    run = evaluate(victim, (x[:10], y[:10]), threat, [one.attack(), two.attack()], certify="none", out=tmp_path)
    assert len({cell["key"] for cell in run.record.header["cases"][0]["cells"]}) == 3


def test_a_table_with_open_columns():
    """Columns without bounds, of other scales, in float32."""
    net = nn.Sequential(nn.Linear(3, 2))
    victim = TorchVictim(net, Table(tuple(Column(name, "real") for name in "abc")), name="table", search="plain")
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(5)) * 3
    found = universal(victim, x, victim.label(x), Threat(L2(1.0), Untargeted()), epochs=5)
    assert torch.isfinite(found.perturbation).all()
    assert float(found.perturbation.norm()) <= 1 + 1e-6
    assert isinstance(found.form, Added)


def test_what_does_not_fit_is_refused_before_a_question(data):
    victim, x, y = data
    threat = Threat(Linf(0.05), Untargeted())
    found = universal(victim, x, y, threat, epochs=1)
    with pytest.raises(NeedsError, match="balls and patches"):
        universal(victim, x, y, ARENAS["flow"].threat)
    with pytest.raises(PlanError, match="one radius"):
        universal(victim, x, y, threat.at(torch.full((60,), 0.05)))
    with pytest.raises(PlanError, match="momentum=1"):
        universal(victim, x, y, threat, momentum=1.0)
    with pytest.raises(InputError, match="no sample to learn from"):
        universal(victim, x, 1 - y, threat)
    with pytest.raises(NeedsError, match="learned under linf"):
        found.attack()(victim, x, y, Threat(L2(0.5), Untargeted()))
    with pytest.raises(NeedsError, match="2 classes"):
        found.attack()(TorchVictim(tiny_net(3), Image(SHAPE), search="plain"), x, y, threat)
