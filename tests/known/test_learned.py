"""What is learned across samples: the policy of a random search and the generator of perturbations."""

import json

import pytest
import torch
from support import ARENAS, Instrumented, short
from torch import nn

from sparring.attacks.evasion.learned.generator import Generator, generator
from sparring.attacks.evasion.learned.policy import SCALES, Policy, Proposal, Seen, drawn, log_chance, window
from sparring.attacks.evasion.learned.rl_square import Learner, reinforce
from sparring.bench.api import evaluate
from sparring.core.errors import LoadError, NeedsError, PlanError
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.models.torch import TorchVictim
from sparring.threats.balls import L1, L2, Linf
from sparring.threats.goals import Targeted, Untargeted

SHAPE = (1, 14, 14)
THREAT = Threat(Linf(0.2), Untargeted())


class OneCorner(nn.Module):
    """The first class loses to the second as the upper left quarter grows bright; nothing else is looked at."""

    def forward(self, x):
        lit = x[:, 0, :7, :7].mean((1, 2)) * 10
        return torch.stack([torch.full_like(lit, 6.3), lit], 1)


class Copied(nn.Module):
    """Class 1 where the upper half is brighter than the lower."""

    def forward(self, x):
        lit = (x[:, 0, :7].mean((1, 2)) - x[:, 0, 7:].mean((1, 2))) * 10
        return torch.stack([-lit, lit], 1)


def samples(count, seed=3):
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed)) * 0.4 + 0.3


@pytest.fixture(scope="module")
def lesson():
    victim, x = TorchVictim(OneCorner(), Image(SHAPE), name="corner", search="plain"), samples(40)
    return victim, x, torch.zeros(40, dtype=torch.int64)


@pytest.fixture(scope="module")
def policy(lesson):
    return reinforce(*lesson, THREAT, queries=25, episodes=8, batch=20, learning_rate=0.01)


def queries_of(learned, victim, x, y, limit=25):
    counted = Instrumented(victim)
    learned.attack().configure(queries=limit)(counted, x, y, THREAT)
    return counted.asked / len(x)


def test_a_policy_learns_where_to_look(lesson, policy):
    """The bright quarter is all that counts: a trained policy needs fewer queries than the same network before."""
    victim, _, _ = lesson
    fresh, y = samples(30, seed=8), torch.zeros(30, dtype=torch.int64)
    before, after = queries_of(policy.untrained(), victim, fresh, y), queries_of(policy, victim, fresh, y)
    assert after < 0.8 * before
    network = policy.policy(fresh)
    nothing = torch.zeros(30, 1, 7, 7, dtype=torch.float64)
    chances, leanings = network(Seen(nothing + 0.5, nothing, nothing, nothing, y, 0.3))
    where = chances.exp().reshape(30, len(SCALES), 7, 7).sum(1)[0]
    assert float(where[:4, :4].sum()) > 0.6  # indifferent: 16 of 49
    assert float(leanings[0, 0, :3, :3].mean()) > 0.5


def test_the_untrained_self_is_indifferent(policy):
    """Same shapes, other weights; all cells and colours alike; its hash is another one."""
    first = policy.untrained()
    assert {name: one.shape for name, one in first.tensors.items()} == {name: one.shape for name, one in policy.tensors.items()}
    nothing = torch.rand(2, 1, 7, 7, dtype=torch.float64)
    chances, leanings = first.policy(nothing)(Seen(*[nothing] * 4, torch.tensor([0, 1]), 0.3))
    ways = chances.exp().reshape(2, len(SCALES), -1)
    assert torch.allclose(ways, ways[:, :, :1].expand_as(ways))
    assert not leanings.any()
    assert first.sha256 != policy.sha256


def test_chances_are_those_drawn():
    """Frequencies of 20,000 draws agree with the chances, and the logarithm handed to the policy gradient is theirs."""
    torch.manual_seed(0)
    network = Policy(1, 2).double()
    nn.init.normal_(network.last.weight, std=0.5)
    one = torch.rand(1, 1, 3, 3, dtype=torch.float64)
    chances, leanings = (part.detach().expand(20000, *part.shape[1:]) for part in network(Seen(one, one, one, one, torch.tensor([1]), 0.4)))
    made = drawn(chances, leanings, Rng.of(0, range(20000)))
    place = made.scale * 9 + made.row * 3 + made.column
    share = torch.bincount(place, minlength=27) / 20000
    assert torch.allclose(share.double(), chances[0].exp(), atol=0.015)
    up = torch.sigmoid(leanings[0, 0, made.row, made.column])
    assert abs(float((made.signs[:, 0] > 0).double().mean() - up.mean())) < 0.015
    by_hand = chances[0][place] + torch.where(made.signs[:, 0] > 0, up, 1 - up).log()
    assert torch.allclose(log_chance(chances, leanings, made), by_hand)


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (6, 6), (40, 23)])
def test_windows_lie_in_the_image(shape):
    """Squares of the chosen side, cut to the shorter side of the image, in every cell of every size of image."""
    count = 200
    cells = [min(7, length) for length in shape]
    rng = Rng.of(1, range(count))
    made = Proposal(*(rng.draw(name).integers(high, 1).squeeze(1) for name, high in zip("abc", (*cells, 3), strict=True)), torch.ones(count, 1))
    inside = window(made, 4, shape, rng)
    for row in range(count):
        side = max(1, min(round(4 * SCALES[made.scale[row]]), *shape))
        assert int(inside[row].sum()) == side * side


@pytest.mark.parametrize("name", ["linf", "linf-two-classes", "linf-targeted", "linf-8bit", "linf-scores"])
def test_the_search_is_lawful(name):
    """Allowed points, whatever the radius; no batch or order shows; the budget holds; the global state stays."""
    arena = ARENAS[name]
    radius = arena.threat.space.radius
    one = arena.threat.at(0.1) if isinstance(radius, torch.Tensor) else arena.threat
    torch.manual_seed(7)
    state = torch.get_rng_state()
    attack = short(reinforce(arena.victim, arena.x, arena.y, one, queries=6, episodes=1, batch=6, held_out=0.0).attack())
    points = attack(arena.victim, arena.x, arena.y, arena.threat, arena.rng())
    assert torch.equal(torch.get_rng_state(), state)
    for before, after, allowed in zip(arena.x, arena.victim.domain.deploy(points, arena.x), arena.radii(), strict=True):
        assert arena.allowed(before, after, allowed)
    assert torch.equal(attack(arena.victim, arena.x, arena.y, arena.threat, arena.rng(), batch=1), points)
    order = torch.tensor([4, 0, 5, 2])
    assert torch.equal(attack(arena.victim, arena.x[order], arena.y[order], arena.threat.take(order), arena.rng().take(order)), points[order])
    counted = Instrumented(arena.victim)
    attack(counted, arena.x, arena.y, arena.threat.within(queries=3), arena.rng())
    assert counted.asked <= 3 * len(arena.x)
    still = attack(arena.victim, arena.x, arena.y, arena.threat.at(0.0), arena.rng())
    assert torch.equal(still, arena.x)


# The generator ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def halves():
    victim, x = TorchVictim(Copied(), Image(SHAPE), name="halves", search="plain"), samples(80)
    return victim, x, victim.label(x)


@pytest.mark.parametrize("space", [Linf(0.05), L2(0.6), L1(6.0)])
def test_a_generator_learns_the_optimum_of_a_linear_model(halves, space):
    """Half up and half down is the best change there is; new samples get most of what it gains, in one query."""
    victim, x, y = halves
    threat = Threat(space, Untargeted())
    found = generator(victim, x, y, threat, epochs=12, batch=10, learning_rate=0.01)
    fresh = samples(40, seed=9)
    truth = victim.label(fresh)
    counted = Instrumented(victim)
    points = found.attack()(counted, fresh, truth, threat)
    assert counted.asked == 40
    gained = (victim.scores(points) - victim.scores(fresh)).gather(1, truth[:, None]).neg()
    most = {"linf": 2 * 0.05, "l2": 0.6 * 196**0.5 / 98, "l1": 6.0 / 98}[space.kind] * 10
    assert float(gained.max()) <= most * (1 + 1e-4)
    assert float(gained.mean()) > 0.7 * most


def test_a_generator_reaches_the_class_it_is_told():
    """Toward the next class of three, and hence differently for each class."""
    arena = ARENAS["linf-targeted"]
    x = arena.x.repeat(5, 1, 1, 1)
    y = arena.victim.label(x)
    threat = Threat(Linf(0.4), Targeted("next"))
    found = generator(arena.victim, x, y, threat, epochs=15, batch=5, learning_rate=0.01, held_out=0.0)
    assert found.trained.value > 0.6


@pytest.mark.parametrize("name", ["linf-two-classes", "linf-targeted", "linf-8bit", "l2", "l1"])
def test_generated_points_are_allowed_and_no_batch_shows(name):
    arena = ARENAS[name]
    radius = arena.threat.space.radius
    one = arena.threat.at(0.1) if isinstance(radius, torch.Tensor) else arena.threat
    attack = generator(arena.victim, arena.x, arena.y, one, epochs=1, held_out=0.0).attack()
    points = attack(arena.victim, arena.x, arena.y, arena.threat, arena.rng())
    for before, after, allowed in zip(arena.x, arena.victim.domain.deploy(points, arena.x), arena.radii(), strict=True):
        assert arena.allowed(before, after, allowed)
    assert torch.allclose(attack(arena.victim, arena.x, arena.y, arena.threat, arena.rng(), batch=1), points, atol=1e-7)
    assert torch.equal(attack(arena.victim, arena.x, arena.y, arena.threat.at(0.0), arena.rng()), arena.x)


# Both -------------------------------------------------------------------------------------------------------------------


def test_seeds_decide_and_files_keep(lesson, policy, tmp_path):
    """The same seed gives the same hash, another seed another; what is saved is loaded, and not as something else."""
    made = [generator(*lesson, THREAT, epochs=1, seed=seed) for seed in (0, 0, 1)]
    assert made[0].sha256 == made[1].sha256 != made[2].sha256
    policies = [reinforce(*lesson, THREAT, queries=4, episodes=1, batch=4, seed=seed) for seed in (0, 0, 1)]
    assert policies[0].sha256 == policies[1].sha256 != policies[2].sha256
    assert Generator.load(made[0].save(tmp_path / "g.safetensors")).sha256 == made[0].sha256
    assert str(Learner.load(policy.save(tmp_path / "p.safetensors")).attack()) == str(policy.attack())
    with pytest.raises(LoadError, match="holds a learned policy, not a learned generator"):
        Generator.load(tmp_path / "p.safetensors")


def test_both_stand_in_one_run(lesson, policy, tmp_path):
    """Beside attacks by name, with the hash of what was learned in the record."""
    victim, x, y = lesson
    made = generator(*lesson, THREAT, epochs=1)
    run = evaluate(victim, (x[:6], y[:6]), THREAT, [made.attack(), policy.attack(), "square(queries=10)"], certify="none", out=tmp_path)
    told = [cell["attack"].get("learned", {}).get("sha256") for cell in json.loads(json.dumps(run.record.header))["cases"][0]["cells"]]
    assert told == [None, made.sha256, policy.sha256, None]


def test_what_does_not_fit_is_refused(lesson, policy):
    victim, x, y = lesson
    with pytest.raises(NeedsError, match="try linf"):
        reinforce(victim, x, y, Threat(L2(0.5), Untargeted()))
    with pytest.raises(NeedsError, match="try linf, l2 or l1 on images"):
        generator(victim, x, y, ARENAS["patch"].threat)
    with pytest.raises(PlanError, match="learning_rate=0"):
        generator(victim, x, y, THREAT, learning_rate=0.0)
    with pytest.raises(NeedsError, match="other inputs"):
        policy.attack()(ARENAS["linf"].victim, ARENAS["linf"].x, ARENAS["linf"].y, THREAT)
