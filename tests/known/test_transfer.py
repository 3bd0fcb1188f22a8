"""Transfer: each change of the gradient against its equation, surrogates against what they stand for."""

import dataclasses
import random

import numpy as np
import pytest
import torch
from support import ARENAS, Instrumented, statuses, tiny_net
from torch import nn

from sparring.aims.evasion.choice import choose
from sparring.attacks.attack import read_attack
from sparring.attacks.evasion.transfer.change import Answer, Here, Memory, Pool, compose, read_changes
from sparring.attacks.evasion.transfer.changes.diversity import Diversity
from sparring.attacks.evasion.transfer.changes.mixing import Mixing
from sparring.attacks.evasion.transfer.changes.momentum import Momentum
from sparring.attacks.evasion.transfer.changes.nesterov import Nesterov
from sparring.attacks.evasion.transfer.changes.scales import Scales
from sparring.attacks.evasion.transfer.changes.skip_decay import softened
from sparring.attacks.evasion.transfer.changes.translation import Translation
from sparring.attacks.evasion.transfer.changes.variance import Variance
from sparring.attacks.evasion.transfer.substitute import substitute
from sparring.attacks.evasion.transfer.surrogates import fused
from sparring.attacks.evasion.transfer.transfer import transfer
from sparring.attacks.losses import cross_entropy
from sparring.core.code import code_of
from sparring.core.errors import NeedsError, PlanError, UnknownName
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.data.dataset import Data
from sparring.domains.image import Image
from sparring.models.torch import TorchVictim
from sparring.threats.balls import Linf
from sparring.threats.goals import Targeted, Untargeted

DOMAIN = Image((1, 6, 6))


def here_of(arena, velocity=None, decay=1.0, share=0.1, pool=None):
    zeros = torch.zeros_like(arena.x)
    return Here(arena.problem(), Memory(zeros if velocity is None else velocity, zeros), share, decay, pool)


def flat_net(weights):
    net = nn.Sequential(nn.Flatten(), nn.Linear(weights.shape[1], weights.shape[0], bias=False)).double()
    with torch.no_grad():
        net[1].weight.copy_(weights)
    return net


def other_victim(seed, name="other", classes=3):
    return TorchVictim(tiny_net(classes, seed), DOMAIN, name=name, search="plain")


class Bowl(nn.Module):
    """Scores (0, q(x)) with q a quadratic, so that the margin away from class 0 has the gradient c - s x."""

    def __init__(self, steepness, centre):
        super().__init__()
        self.steepness, self.centre = nn.Parameter(steepness), nn.Parameter(centre)

    def forward(self, x):
        flat = x.flatten(1).double()
        return torch.stack([torch.zeros(len(x)).double(), (self.centre * flat - self.steepness * flat**2 / 2).sum(1) - 1e3], 1)


# Each change ------------------------------------------------------------------------------------------------------------


def test_momentum_and_nesterov_on_a_quadratic_by_hand():
    """Eight steps of MI and of NI, written out in NumPy: velocity, lookahead and sign steps."""
    steepness, centre = torch.tensor([1.0, 4.0, 0.5, 2.0]).double(), torch.tensor([0.6, 1.6, 0.1, 0.3]).double()
    victim = TorchVictim(Bowl(steepness, centre), Image((1, 2, 2)), search="plain")
    x = torch.tensor([[[[0.5, 0.35], [0.45, 0.2]]]], dtype=torch.float64)
    threat, step, decay = Threat(Linf(0.2), Untargeted()), 0.2 * 0.2, 0.7
    for ahead in (False, True):
        at, velocity = x.flatten().numpy().copy(), np.zeros(4)
        for _ in range(8):
            looked = at + step * decay * velocity if ahead else at
            g = centre.numpy() - steepness.numpy() * looked
            velocity = decay * velocity + g / np.abs(g).mean()
            at = (at + step * np.sign(velocity)).clip(x.flatten().numpy() - 0.2, x.flatten().numpy() + 0.2)
        attack = transfer(victim, changes=f"mi(decay={decay})" + "+ni" * ahead, steps=8, step_size=0.2, loss="margin")
        found = attack(victim, x, [0], threat)
        assert np.allclose(found.flatten().numpy(), at, atol=1e-12)
        plain = transfer(victim, changes="none", steps=8, step_size=0.2, loss="margin")(victim, x, [0], threat)
        assert not torch.allclose(plain, found)


def test_the_lookahead_is_one_step_in_every_ball():
    """With a velocity of one gradient, NI looks at the point a plain step would reach, in L2 too."""
    for name in ("linf", "l2"):
        arena = ARENAS[name]
        g = torch.randn(arena.x.shape, generator=torch.Generator().manual_seed(0))
        if name == "linf":
            g = g.sign()
        asked = []
        here = here_of(arena, velocity=g / g.abs().flatten(1).mean(1).reshape(-1, 1, 1, 1))

        def ask(x, rng, asked=asked, here=here):
            asked.append(x)
            return Answer(x, here.memory)

        Nesterov()(ask, here)(arena.x, arena.rng())
        region = here.problem.region
        assert torch.allclose(asked[0], region.ascend(arena.x, g, region.radius * 0.1), atol=1e-6)


def test_variance_is_the_mean_of_neighbours_minus_the_own_gradient():
    """On g(x) = x the variance is the mean displacement of the neighbours, and it is added one step later."""
    arena = ARENAS["linf"]
    before = torch.full_like(arena.x, 3.0)
    here = dataclasses.replace(here_of(arena), memory=Memory(torch.zeros_like(arena.x), before))
    places = []

    def ask(x, rng):
        places.append(x)
        return Answer(x, here.memory)

    answer = Variance(neighbours=4, reach=1.5)(ask, here)(arena.x, arena.rng())
    assert torch.equal(answer.grad, arena.x + 3.0)
    assert torch.allclose(answer.memory.variance, torch.stack(places[1:]).mean(0) - arena.x, atol=1e-6)
    reach = (torch.stack(places[1:]) - arena.x).abs().max()
    assert 0.08 < float(reach) <= 1.5 * 0.08 + 1e-6
    assert len(places) == 5


def test_scales_average_the_gradients_of_the_copies_by_hand():
    """d/dx of the mean of f(x / 2^i) with f = x^3 / 3."""
    arena = ARENAS["linf"]
    here = here_of(arena)
    found = Scales(copies=3)(lambda x, rng: Answer(x**2, here.memory), here)(arena.x, arena.rng()).grad
    by_hand = (arena.x**2 + (arena.x / 2) ** 2 / 2 + (arena.x / 4) ** 2 / 4) / 3
    assert torch.allclose(found, by_hand, atol=1e-7)


def test_mixing_takes_only_other_classes_from_the_pool():
    """Each image mixed in is one of the pool and of another class than the sample; all of them are drawn sooner or later."""
    arena = ARENAS["linf"]
    pool = Pool(torch.stack([torch.full((1, 6, 6), 10.0**place) for place in range(4)]), torch.tensor([0, 1, 2, 2]))
    here, seen = here_of(arena, pool=pool), []

    def ask(x, rng):
        seen.append((x - arena.x).mean((1, 2, 3)) / 0.2)
        return Answer(x, here.memory)

    grad = Mixing(images_mixed=40, share=0.2)(ask, here)(arena.x, arena.rng()).grad
    drawn = torch.stack(seen).log10().round().long()
    for row, label in enumerate(arena.y.tolist()):
        assert set(drawn[:, row].tolist()) == {place for place in range(4) if int(pool.y[place]) != label}
    assert torch.allclose(grad, arena.x + 0.2 * (10.0**drawn).mean(0).reshape(-1, 1, 1, 1), rtol=1e-4)


def test_the_kernel_sums_to_one_and_smooths_as_a_gaussian():
    """Weights of N(0, 1) at equal steps from -3 to 3; the default side is the paper's share of the image."""
    line = np.exp(-(np.linspace(-3, 3, 15) ** 2) / 2)
    assert np.allclose(Translation(side=15).kernel(299).numpy(), np.outer(line, line) / line.sum() ** 2)
    assert Translation().kernel(299).shape == (15, 15)
    assert Translation().kernel(28).shape == (3, 3)
    for side in (0, 1, 4, 7):
        kernel = Translation(side=side).kernel(28)
        assert float(kernel.sum()) == pytest.approx(1.0, abs=1e-12)
        assert kernel.shape[0] % 2 == 1
    arena = ARENAS["linf"]
    here, point = here_of(arena), torch.zeros_like(arena.x)
    point[:, :, 3, 3] = 1.0
    smoothed = Translation(side=3)(lambda x, rng: Answer(point, here.memory), here)(arena.x, arena.rng()).grad
    assert torch.allclose(smoothed[0, 0, 2:5, 2:5].double(), Translation(side=3).kernel(6), atol=1e-7)
    assert smoothed[0].sum() == pytest.approx(1.0, abs=1e-6)


def test_diversity_keeps_sizes_and_its_gradient_is_the_transpose():
    """Images keep their shape and range and are smaller among zeros; constants stay constant; and <T x, g> = <x, T' g>."""
    images = torch.rand(200, 2, 20, 12, dtype=torch.float64) + 1.0
    rng = Rng.of(0, range(200))

    def turned(change, x):
        down, right = change.places(x, rng)
        return down @ x @ right.mT

    after = turned(Diversity(smallest=0.5, chance=1.0), images)
    assert after.shape == images.shape
    shown = after[:, 0] > 0
    rows, columns = shown.any(2).sum(1), shown.any(1).sum(1)
    assert set(rows.tolist()) == set(range(10, 21))
    assert (columns - rows * 12 / 20).abs().max() <= 1
    assert torch.equal(shown.sum((1, 2)), rows * columns)
    first = shown.any(2).to(torch.int8).argmax(1)
    assert bool((first[rows < 15] > 0).any() and (first[rows < 15] == 0).any())
    assert float(after.amax()) <= float(images.amax())
    assert set(turned(Diversity(smallest=0.5, chance=1.0), torch.ones_like(images)).mul(1e9).round().unique().tolist()) == {0.0, 1e9}
    stays = (turned(Diversity(chance=0.5), images) == images).flatten(1).all(1).double().mean()
    assert 0.35 < float(stays) < 0.8
    assert torch.equal(turned(Diversity(chance=0.0), images), images)

    arena = ARENAS["linf"]
    here = here_of(arena)
    seen, g = [], torch.randn(arena.x.shape)

    def ask(x, rng):
        seen.append(x)
        return Answer(g, here.memory)

    back = Diversity(smallest=0.5, chance=1.0)(ask, here)(arena.x, arena.rng()).grad
    assert torch.allclose((seen[0] * g).sum((1, 2, 3)), (arena.x * back).sum((1, 2, 3)), atol=1e-5)


# Composition ------------------------------------------------------------------------------------------------------------


def test_the_first_change_is_outermost_and_the_order_of_writing_does_not_matter():
    calls = []

    @dataclasses.dataclass(frozen=True)
    class Noted:
        name: str

        def __call__(self, ask, here):
            def asked(x, rng):
                calls.append(self.name)
                return ask(x, rng)

            return asked

    compose([Noted("outer"), Noted("inner")], lambda x, rng: calls.append("question"), None)(None, None)
    assert calls == ["outer", "inner", "question"]
    written = read_changes("di(chance=0.7)+ti+si+mi(decay=0.9)+admix+vmi+ni")
    assert [type(change) for change in written] == [Momentum, Nesterov, Variance, Translation, Mixing, Scales, Diversity]
    assert written == read_changes("mi(decay=0.9)+ni+vmi+ti+admix+si+di(chance=0.7)")
    assert written[-1].chance == 0.7
    assert read_changes("none") == read_changes("") == ()


@pytest.mark.parametrize(
    ("written", "error", "said"),
    [("mj", UnknownName, "mi"), ("mi+mi", PlanError, "twice"), ("ni", PlanError, "mi\\+ni"), ("di(chanse=1)", UnknownName, "chance"),
     ("si(copies=0)", PlanError, "one copy"), ("mi(decay='x')", PlanError, "number"), ("mi(0.5)", PlanError, "cannot read"), ("mi(", PlanError, "cannot read")],
)  # fmt: skip
def test_wrong_changes_say_what_to_write(written, error, said):
    with pytest.raises(error, match=said):
        read_attack(f'transfer(changes="{written}")')


def test_the_code_of_the_changes_belongs_to_the_address_of_the_rows():
    """Changes are found by name, so no import leads from the attack to them."""
    codes = {code_of(read_attack(f'transfer(changes="{written}")')) for written in ("none", "mi", "mi+di", "di")}
    assert len(codes) == 4
    assert code_of(read_attack('transfer(changes="mi(decay=0.5)")')) in codes


ALL = "mi+ni+vmi(neighbours=1)+ti+admix(images_mixed=2)+si(copies=2)+di"


@pytest.mark.parametrize("white", [True, False])
def test_every_composition_is_independent_of_the_batch(white):
    """All changes at once: batches of one, another order and a subset give every sample the same point."""
    arena = ARENAS["linf"]
    pool = Data.of(torch.rand(5, 1, 6, 6), [0, 1, 2, 0, 1], DOMAIN)
    attack = transfer(arena.victim if white else other_victim(5), changes=ALL, steps=2, pool=pool)
    if white:
        attack = dataclasses.replace(attack.configure(surrogate=""), mixed=pool)
    whole = attack(arena.victim, arena.x, arena.y, arena.threat, arena.rng())
    assert torch.allclose(attack(arena.victim, arena.x, arena.y, arena.threat, arena.rng(), batch=1), whole, atol=1e-5)
    rows = torch.tensor([4, 0, 3])
    some = attack(arena.victim, arena.x[rows], arena.y[rows], arena.threat, arena.rng().take(rows))
    assert torch.allclose(some, whole[rows], atol=1e-5)
    assert not torch.equal(whole, arena.x)


def test_white_box_questions_are_metered_and_stop_with_the_first_success():
    """Without a surrogate each copy is a question that is paid for; rows that one copy broke are not asked again."""
    arena = ARENAS["linf"]
    for budget in (5, None):
        victim = Instrumented(arena.victim)
        problem = arena.with_victim(victim).problem(arena.threat.within(queries=budget))
        with victim.session():
            read_attack('transfer(changes="mi+vmi(neighbours=3)+si(copies=2)", steps=4)').run(problem)
        assert int(problem.ledger.cost.queries.sum()) == victim.asked
        assert int(problem.ledger.cost.backwards.sum()) == victim.differentiated
        assert budget is None or int(problem.ledger.cost.queries.max()) <= budget
    assert int(problem.ledger.cost.queries.max()) == 4 * 4 * 2 + 1


# Surrogates -------------------------------------------------------------------------------------------------------------


def balanced(classes):
    """Weights whose rows add up to zero, so that random images fall into every class."""
    weights = torch.randn(classes, 36, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return weights - weights.mean(1, keepdim=True)


def linear_pair(classes, goal):
    weights = balanced(classes)
    victim, surrogate = (TorchVictim(flat_net(weights * scale), DOMAIN, name=name, search="plain") for scale, name in ((1.0, "victim"), (2.5, "surrogate")))
    x = torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return victim, surrogate, x, victim.label(x), Threat(Linf(0.03), goal, "labels"), weights


@pytest.mark.parametrize("goal", [Untargeted(), Targeted("next")], ids=["untargeted", "targeted"])
@pytest.mark.parametrize("classes", [2, 4])
def test_on_linear_models_the_transfer_is_exact(classes, goal):
    """A surrogate that is a multiple of a linear victim gives, for labels alone, the points of the victim's own gradients; with two
    classes these are the optimum, the edge of the ball in the sign of the difference of the weights."""
    victim, surrogate, x, y, threat, weights = linear_pair(classes, goal)
    found = transfer(surrogate, changes="mi", steps=5, loss="margin")(victim, x, y, threat)
    assert torch.equal(found, transfer(victim, changes="mi", steps=5, loss="margin")(victim, x, y, threat))
    fell = (victim.label(found) != y) if goal.kind == "untargeted" else victim.label(found) == (y + 1) % classes
    assert 0 < int(fell.sum()) < 20
    if classes == 2:
        way = (weights[1 - y] - weights[y]).reshape(x.shape)
        assert torch.allclose(found, (x + 0.03 * way.sign()).clamp(0, 1), atol=1e-12)


def test_the_victim_is_asked_for_labels_at_the_looks_only():
    """Of 6 steps with a look after every 2 the victim sees three labels a standing sample, and the surrogate all the rest."""
    arena, victim = ARENAS["linf"], Instrumented(ARENAS["linf"].victim)
    for look, asked in ((2, 3), (4, 2), (0, 1), (100, 1)):
        victim.questions.clear()
        problem = arena.with_victim(victim).problem(arena.threat.at(0.001).seeing("labels"), arena.right().nonzero().squeeze(1))
        attack = transfer(other_victim(4), changes="mi+si", steps=6, look=look)
        with victim.session():
            attack.run(problem)
        assert {kind for kind, _ in victim.questions} == {"label"}
        assert problem.ledger.cost.queries.tolist() == [asked] * len(problem)
        assert int(problem.ledger.cost.backwards.sum()) == 0


def test_transfer_breaks_a_victim_that_gives_labels_only():
    """Verdicts of the judge, not of the attack; without a surrogate the same threat is refused, with what would help."""
    arena = ARENAS["linf"]
    victim = Instrumented(arena.victim, exposes={"labels"})
    threat = arena.threat.at(0.3).seeing("labels")
    near = TorchVictim(tiny_net(3), DOMAIN, name="near", search="plain")
    with torch.no_grad():
        for parameter in near.module.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    points = transfer(near)(victim, arena.x, arena.y, threat, arena.rng())
    told = statuses(dataclasses.replace(arena, threat=threat), points)
    assert told.count("broken") >= 4
    with pytest.raises(NeedsError, match="surrogate"):
        read_attack("transfer")(victim, arena.x, arena.y, threat)


def test_an_ensemble_is_the_mean_of_what_it_says():
    """Mean logits, mean losses and mean unit gradients against autograd on the networks themselves."""
    arena = ARENAS["linf"]
    nets = [tiny_net(3, seed) for seed in (1, 7, 8)]
    victims = [TorchVictim(net, DOMAIN, name=str(turn), search="plain") for turn, net in enumerate(nets)]
    criterion = arena.problem().criterion
    x = arena.x.double().requires_grad_(True)
    logits = [net(x) for net in nets]
    (mean_logits,) = torch.autograd.grad(cross_entropy(sum(logits) / 3, criterion).sum(), x, retain_graph=True)
    (mean_loss,) = torch.autograd.grad(sum(cross_entropy(one, criterion) for one in logits).sum() / 3, x, retain_graph=True)
    each = [torch.autograd.grad(cross_entropy(one, criterion).sum(), x, retain_graph=True)[0] for one in logits]
    units = sum(g / g.abs().mean((1, 2, 3), keepdim=True) for g in each) / 3
    for way, wanted in (("logits", mean_logits), ("losses", mean_loss), ("gradients", units)):
        assert torch.allclose(fused(victims, cross_entropy, way)(arena.x.double(), criterion, 0), wanted, atol=1e-10)
    assert not torch.allclose(mean_logits, mean_loss, atol=1e-4)


def test_the_key_of_the_record_knows_the_surrogates():
    """Other weights under the same name are another attack; so are other images in the pool."""
    one, other = (transfer(other_victim(seed, "twin")) for seed in (1, 2))
    assert str(one) == str(other) == "transfer(surrogate='twin', changes='mi')"
    assert one.describe() != other.describe()
    assert one.describe()["surrogates"][0]["sha256"] == other_victim(1, "twin").fingerprint
    pools = [Data.of(torch.full((2, 1, 6, 6), value), [0, 1], DOMAIN) for value in (0.1, 0.2)]
    keys = [transfer(other_victim(1), changes="admix", pool=pool).describe() for pool in pools]
    assert keys[0] != keys[1]
    plan = read_attack("transfer(surrogate='digits-plain')").describe()
    assert plan["surrogates"] != read_attack("transfer(surrogate='digits-robust')").describe()["surrogates"]


MISFITS = {
    "other classes": (lambda: transfer(other_victim(1, classes=4)), "4 classes"),
    "other inputs": (lambda: read_attack("transfer(surrogate='digits-plain')"), "belongs to the data set|takes"),
    "no gradients": (lambda: transfer(Instrumented(other_victim(1), exposes={"labels", "scores"})), "not gradients"),
    "no pool": (lambda: transfer(other_victim(1), changes="admix"), "pool"),
    "a pool of one class": (lambda: transfer(other_victim(1), changes="admix", pool=Data.of(torch.rand(2, 1, 6, 6), [1, 1], DOMAIN)), "one class"),
    "no residual branches": (lambda: transfer(other_victim(1), changes="mi+sgm"), "residual"),
    "sgm of the victim": (lambda: read_attack('transfer(changes="sgm")'), "must not be"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_refused_before_the_first_question(case):
    make, said = MISFITS[case]
    victim = Instrumented(ARENAS["linf"].victim)
    with pytest.raises(ValueError, match=said):
        choose([make()], victim, ARENAS["linf"].threat)
    assert victim.asked == 0


def test_images_are_needed_where_pixels_are():
    arena = ARENAS["columns-linf"]
    for changes in ("di", "ti"):
        with pytest.raises(NeedsError, match="for images"):
            read_attack(f'transfer(changes="{changes}")').check(arena.victim, arena.threat)
    points = read_attack('transfer(changes="mi+ni+vmi(neighbours=2)")')(arena.victim, arena.x, arena.y, arena.threat, arena.rng())
    assert bool(torch.isfinite(points).all())


# Residual branches ------------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """x + body(x), then a block whose shortcut has a layer too."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
        self.longer, self.shortcut, self.bias = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)), nn.Linear(4, 3), nn.Parameter(torch.ones(3))

    def forward(self, x):
        x = x.flatten(1)
        x = self.body(x) + x
        return self.shortcut(x) + self.longer(x) + self.bias


def test_skip_gradients_decay_the_branches_and_keep_the_answers():
    """Against the same network written out with detached branches; an addition of a bias is no residual block."""
    net = Residual().double()
    victim = TorchVictim(net, Image((1, 2, 2)), search="plain")
    x = torch.rand(3, 1, 2, 2, dtype=torch.float64)
    soft = softened(victim, 0.3)
    assert torch.equal(soft.scores(x), victim.scores(x))

    def part(branch):
        return 0.3 * branch + 0.7 * branch.detach()

    point = x.clone().requires_grad_(True)
    h = point.flatten(1)
    h = part(net.body(h)) + h
    scores = net.shortcut(h) + part(net.longer(h)) + net.bias
    (wanted,) = torch.autograd.grad(scores[:, 0].sum(), point)
    assert torch.allclose(soft.gradient(x, lambda scores: scores[:, 0]).grad, wanted, atol=1e-12)
    assert not torch.allclose(victim.gradient(x, lambda scores: scores[:, 0]).grad, wanted, atol=1e-3)


# Substitutes ------------------------------------------------------------------------------------------------------------


def seeds(count=30):
    random_ = torch.Generator().manual_seed(3)
    return Data.of(torch.rand(count, 1, 6, 6, generator=random_), [0, 1, 2] * (count // 3), DOMAIN)


def test_a_substitute_pays_for_every_label_and_asks_for_nothing_else():
    """Queries are what an instrumented victim was asked; a limit holds; doubling rounds double the points."""
    victim = Instrumented(ARENAS["linf"].victim, exposes={"labels"})
    made = substitute(victim, seeds(), rounds=2, epochs=2)
    assert {kind for kind, _ in victim.questions} == {"label"}
    assert made.queries == victim.asked == 6 + 24 + 24 + 48
    victim.questions.clear()
    made = substitute(victim, seeds(), rounds=4, epochs=2, queries=50)
    assert made.queries == victim.asked == 50
    for kind, points in victim.questions:
        assert kind == "label"
        assert 0 <= float(points.min()) <= float(points.max()) <= 1


def test_augmented_points_lie_one_step_along_the_sign_of_the_jacobian():
    victim = Instrumented(ARENAS["linf"].victim)
    data = seeds()
    substitute(victim, data, rounds=1, epochs=3, step=0.05)
    first, new = victim.questions[1][1], victim.questions[2][1]
    assert torch.isin(first, data.x).all()
    moved = (new - first).abs()
    inside = (first > 0.05) & (first < 0.95)
    assert torch.allclose(moved[inside & (moved > 0)], torch.tensor(0.05), atol=1e-6)
    assert float((moved > 0).float().mean()) > 0.8


def test_a_substitute_learns_is_the_same_again_and_leaves_the_generators_alone():
    victim = TorchVictim(flat_net(balanced(3)), DOMAIN, search="plain")
    before = random.getstate(), str(np.random.get_state()), torch.random.get_rng_state()
    one, two, other = (substitute(victim, seeds(120), rounds=2, epochs=10, learning_rate=0.01, seed=seed) for seed in (0, 0, 1))
    assert one.victim.fingerprint == two.victim.fingerprint != other.victim.fingerprint
    assert one.agreement == two.agreement
    assert before[:2] == (random.getstate(), str(np.random.get_state()))
    assert torch.equal(before[2], torch.random.get_rng_state())
    x = torch.rand(300, 1, 6, 6, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    y = victim.label(x)
    agreed = float((one.victim.label(x) == y).double().mean())
    assert agreed > float(y.bincount().max()) / 300 + 0.2
    assert one.agreement == pytest.approx(agreed, abs=0.2)
    fell = [(victim.label(points) != y).double().mean() for points in (
        transfer(one.victim, loss="margin")(victim, x, y, Threat(Linf(0.1), Untargeted(), "labels")),
        (x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(4)).sign()).clamp(0, 1),
    )]  # fmt: skip
    assert fell[0] > fell[1] + 0.3


def test_a_limit_below_the_seeds_is_refused_before_the_first_question():
    victim = Instrumented(ARENAS["linf"].victim)
    with pytest.raises(PlanError, match="30"):
        substitute(victim, seeds(), queries=29)
    assert victim.asked == 0
