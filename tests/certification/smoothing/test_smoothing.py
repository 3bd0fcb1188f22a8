"""Certificates of smoothed classifiers against truths computed by hand: never too large, and nearly as large as they may be."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm
from torch import nn

import sparring as sp
from sparring.certification.certificate import Verdict
from sparring.certification.smoothing.certify import smoothing
from sparring.certification.smoothing.noise import Draws, Gaussian, ablation, gaussian, uniform
from sparring.certification.smoothing.smoothed import smoothed
from sparring.core.errors import InputError, NeedsError, PlanError
from sparring.core.rng import Rng
from sparring.models.callable import CallableVictim

SIGMA = 0.25


def labels_of(function, shape=(1, 4, 4), classes=2, low=0.0, high=1.0):
    """A victim that answers with the labels of a NumPy function [n, ...] -> [n]."""
    return CallableVictim(function, sp.image(*shape, low=low, high=high), classes=classes, labels_only=True, fingerprint="by hand")


class Linear:
    """Class 1 where normal . x > offset; the smoothed classifier is the same, so its exact radius is the distance to the plane."""

    def __init__(self, size=16):
        self.normal = np.random.default_rng(0).normal(size=size)
        self.offset = float(self.normal.sum() / 2)

    def __call__(self, x):
        return (x.reshape(len(x), -1) @ self.normal > self.offset).astype(np.int64)

    def distance(self, x):
        return np.abs(x.reshape(len(x), -1).numpy().astype(np.float64) @ self.normal - self.offset) / np.linalg.norm(self.normal)


def samples(count, shape=(1, 4, 4), seed=1):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def rng(count, seed=0):
    return Rng.of(seed, range(count))


@pytest.fixture
def linear():
    return Linear()


@pytest.fixture
def x():
    return samples(40)


@pytest.fixture
def y(linear, x):
    return torch.from_numpy(linear(x.numpy()))


@pytest.mark.parametrize("settings", [{}, {"joint": True}, {"sequential": True}], ids=str)
def test_never_beyond_the_plane_and_nearly_up_to_it(linear, x, y, settings):
    """40 samples at alpha 0.001: none beyond the exact radius; those that 10,000 draws can resolve come within 15 %, unless it is hopeless
    to reach what is asked and the draws end early."""
    found = smoothing.configure(n=10_000, **settings)(smoothed(labels_of(linear), SIGMA), x, y, sp.l2(10.0), rng(40))
    exact = linear.distance(x)
    assert all(one.radius <= truth for one, truth in zip(found, exact, strict=True))
    near = [(one.radius, truth) for one, truth in zip(found, exact, strict=True) if 0.4 * SIGMA < truth < 2 * SIGMA]
    assert len(near) > 10
    assert "sequential" in settings or all(radius > 0.85 * truth for radius, truth in near)


def test_converges_to_the_exact_radius(linear, x, y):
    """Ten times the draws, a smaller gap."""
    victim, exact = smoothed(labels_of(linear), SIGMA), linear.distance(x)
    near = torch.from_numpy((exact > 0.4 * SIGMA) & (exact < 2 * SIGMA))
    gaps = []
    for n in (200, 2_000, 20_000):
        found = smoothing.configure(n=n)(victim, x[near][:4], y[near][:4], sp.l2(10.0), rng(4))
        gaps.append(max(1 - one.radius / truth for one, truth in zip(found, exact[near.numpy()], strict=False)))
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.1


def test_verdict_follows_the_asked_radius(linear, x, y):
    """Proved within the radius, unknown with a reason beyond it, and the radius shown is told either way."""
    exact = torch.from_numpy(linear.distance(x))
    asked = torch.where(torch.arange(40) % 2 == 0, exact * 0.5, exact * 1.5)
    found = smoothing.configure(n=8_000)(smoothed(labels_of(linear), SIGMA), x, y, sp.l2(asked), rng(40))
    for one, radius, truth in zip(found, asked.tolist(), exact.tolist(), strict=True):
        if one.proved:
            assert one.radius >= radius
            assert radius < truth
        else:
            assert one.radius < radius
            assert "copies" in one.reason
        assert one.confidence == 0.999
        assert "real arithmetic" in one.guarantee
    resolved = [one for one, radius, truth in zip(found, asked.tolist(), exact.tolist(), strict=True) if radius < truth and 0.1 < truth < 0.6]
    assert resolved
    assert all(one.proved for one in resolved)


def test_wrong_samples_are_refuted_with_themselves(linear, x, y):
    clear = torch.from_numpy(linear.distance(x) > 0.1)
    found = smoothing(smoothed(labels_of(linear), SIGMA), x[clear], 1 - y[clear], sp.l2(0.1), rng(int(clear.sum())))
    assert all(one.verdict is Verdict.REFUTED for one in found)
    assert all(torch.equal(one.counterexample, image) for one, image in zip(found, x[clear], strict=True))


def test_targeted_goals_need_only_another_class(linear, x, y):
    """A sample of class 0 whose target is 0 is refuted, whose target is 1 proved."""
    clear = torch.from_numpy(linear.distance(x) > 0.1)
    from sparring.threats.goals import Targeted

    rows = x[clear][:4]
    for target in (0, 1):
        found = smoothing(smoothed(labels_of(linear), SIGMA), rows, y[clear][:4], sp.l2(0.01).toward(Targeted(target)), rng(4))
        assert [one.verdict is Verdict.REFUTED for one in found] == (torch.from_numpy(linear(rows.numpy())) == target).tolist()


def test_linf_and_l1_follow_from_l2(linear, x, y):
    victim = smoothed(labels_of(linear), SIGMA)
    found = {kind: smoothing(victim, x[:5], y[:5], getattr(sp, kind)(0.01), rng(5)) for kind in ("l2", "l1", "linf")}
    for two, one, most in zip(*(found[kind] for kind in ("l2", "l1", "linf")), strict=True):
        assert one.radius == two.radius
        assert most.radius == pytest.approx(two.radius / 4)
        assert most.radius <= two.radius / 4


def test_two_bounds_help_where_the_others_share():
    """1-D: class 0 in the middle, 1 below, 2 above: p = 0.44, 0.28, 0.28. One bound abstains, two give sigma/2 (icdf pA - icdf pB)."""
    half = SIGMA * norm.ppf(0.72)
    model = labels_of(lambda x: np.select([x[:, 0, 0, 0] < 0.5 - half, x[:, 0, 0, 0] > 0.5 + half], [1, 2], 0), (1, 1, 1), 3)
    x, y = torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
    one = smoothing.configure(n=50_000)(smoothed(model, SIGMA), x, y, sp.l2(0.01), rng(1))[0]
    two = smoothing.configure(n=50_000, joint=True)(smoothed(model, SIGMA), x, y, sp.l2(0.01), rng(1))[0]
    truth = SIGMA / 2 * (norm.ppf(0.44) - norm.ppf(0.28))
    assert one.verdict is Verdict.UNKNOWN
    assert "abstains" in one.reason
    assert two.proved
    assert 0.85 * truth < two.radius < truth


def split_probability(x, width, says_one):
    """P(class 1) of a 1-D classifier under splitting noise, by the midpoint rule over the shift, computed here anew."""
    start = (np.arange(200_000) + 0.5) / 200_000 * width
    upper = np.ceil((x - start) / width) * width + start
    return float(np.mean(says_one((np.minimum(upper, 1) + np.maximum(upper - width, 0)) / 2)))


def test_uniform_noise_certifies_l1_by_hand():
    """1-D, several widths and points: at the certified radius on either side the smoothed class is still the same."""
    model = labels_of(lambda x: (x[:, 0, 0, 0] > 0.4).astype(np.int64), (1, 1, 1))
    shown = 0
    for width, place in itertools.product((0.3, 0.8, 1.5), (0.05, 0.2, 0.33, 0.5, 0.62, 0.9)):
        x = torch.full((1, 1, 1, 1), place)
        truth = int(split_probability(place, width, lambda z: z > 0.4) > 0.5)
        found = smoothing(smoothed(model, noise=uniform(width)), x, torch.tensor([truth]), sp.l1(0.01), rng(1))[0]
        shown += found.proved
        for moved in (place - found.radius, place + found.radius):
            if 0 <= moved <= 1:
                assert (split_probability(moved, width, lambda z: z > 0.4) >= 0.5 - 1e-5) == (truth == 1) or found.radius == 0
    assert shown > 9


def test_splitting_noise_moves_a_copy_as_often_as_the_change_is_wide():
    """The lemma behind the radius: with the same rng, copies of x and x + t differ in a share of t / width."""
    x = samples(1, (1, 1, 1))
    noise, roll = uniform(0.5), rng(1)
    for t in (0.05, 0.2):
        domain = sp.image(1, 1, 1, high=2.0)
        first, second = (noise.around(point, roll, 40_000, domain).points for point in (x, x + t))
        assert float((first != second).double().mean()) == pytest.approx(t / 0.5, abs=0.01)
    with pytest.raises(PlanError, match="above 0"):
        uniform(0.0)


def test_ablation_against_all_changes_of_a_tiny_image():
    """2 x 4 pixels, 0 or 1, a random classifier of what is seen: exact probabilities over all kept sets; no change of as many pixels as
    certified makes another class the most probable."""
    keep, places = 2, 8
    noise, sets = ablation(keep, fill=2.0), list(itertools.combinations(range(places), keep))
    luck = np.random.default_rng(3)
    table = {}

    def says(kept, image):
        key = (kept, tuple(image[place] for place in kept))
        if key not in table:
            table[key] = int(luck.random() > 0.02 + 0.3 * sum(key[1]))
        return table[key]

    images = list(itertools.product((0, 1), repeat=places))
    share = {image: float(np.mean([says(kept, image) for kept in sets])) for image in images}
    certified = 0
    for image in images:
        label = int(share[image] > 0.5)
        low = max(share[image], 1 - share[image])
        radius = noise.radius(low, 1 - low, (1, 2, 4)) if low > 0.5 else -1
        certified += radius > 0
        for other in images:
            if sum(a != b for a, b in zip(image, other, strict=True)) <= radius:
                assert share[other] != 0.5
                assert int(share[other] > 0.5) == label
    assert certified > 5


def test_ablation_counts_and_keeps():
    """The share of kept sets that meet given pixels, by enumeration; and every copy shows exactly `keep` pixels, each pixel equally often."""
    noise = ablation(3, fill=-1.0)
    sets = list(itertools.combinations(range(8), 3))
    for count in range(9):
        assert float(noise.touched(count, (1, 2, 4))) == pytest.approx(np.mean([bool(set(kept) & set(range(count))) for kept in sets]))
    points = noise.around(samples(2, (3, 2, 4)), rng(2), 4000, sp.image(3, 2, 4)).points
    kept = points != -1
    assert bool((kept.all(2) == kept.any(2)).all())  # all channels of a pixel together
    assert bool((kept[:, :, 0].flatten(2).sum(2) == 3).all())
    assert kept[:, :, 0].double().mean((0, 1)) == pytest.approx(3 / 8, abs=0.03)
    found = smoothing(
        smoothed(labels_of(lambda x: np.zeros(len(x), int)), noise=ablation(2)), samples(1), torch.zeros(1, dtype=torch.int64), sp.l0(2.7), rng(1)
    )[0]
    assert found.proved
    assert found.radius == max(r for r in range(16) if 1 - math.comb(16 - r, 2) / math.comb(16, 2) < 0.001 ** (1 / 10_000) - 0.5)


class TestHostile:
    """Models that give NaN, nothing, or one thing only."""

    def found(self, model, x=None, **settings):
        x = samples(3) if x is None else x
        return smoothing.configure(n=500, **settings)(smoothed(model, SIGMA), x, torch.zeros(len(x), dtype=torch.int64), sp.l2(0.1), rng(len(x)))

    def test_nan_scores(self):
        model = CallableVictim(lambda x: np.full((len(x), 2), np.nan), sp.image(1, 4, 4), classes=2)
        assert all(one.verdict is Verdict.UNKNOWN and one.radius == 0 and "answer" in one.reason for one in self.found(model))

    def test_some_nan_scores_count_against_the_class(self):
        """NaN on 30 % of the noise: the bound is of 70 %, whatever the other scores say."""
        cut = 0.5 + SIGMA * norm.ppf(0.7)

        def scores(x):
            return np.where(x[:, 0, 0, :1] > cut, np.nan, [[1.0, 0.0]])

        one = self.found(CallableVictim(scores, sp.image(1, 4, 4), classes=2), torch.full((1, 1, 4, 4), 0.5))[0]
        assert 0.6 < one.proof.hits / one.proof.draws < 0.8
        assert one.radius < SIGMA * norm.ppf(0.7)

    @pytest.mark.parametrize("label", [-1, 7])
    def test_no_label_of_the_model(self, label):
        assert all(one.verdict is Verdict.UNKNOWN and one.radius == 0 for one in self.found(labels_of(lambda x: np.full(len(x), label))))

    def test_constant(self):
        """The radius of n equal votes: sigma icdf(alpha^(1/n)), and no more."""
        ceiling = SIGMA * norm.ppf(0.001 ** (1 / 500))
        for one in self.found(labels_of(lambda x: np.zeros(len(x), int))):
            assert one.proved
            assert ceiling * (1 - 1e-6) < one.radius < ceiling

    def test_an_input_that_is_not_finite(self):
        x = samples(2)
        x[1, 0, 0, 0] = torch.nan
        first, second = self.found(labels_of(lambda x: np.zeros(len(x), int)), x)
        assert first.proved
        assert second.verdict is Verdict.UNKNOWN
        assert "NaN" in second.reason

    def test_time_that_is_over(self):
        model = smoothed(labels_of(lambda x: np.zeros(len(x), int)), SIGMA)
        for settings in ({}, {"sequential": True}):
            found = smoothing.configure(**settings)(model, samples(1), torch.zeros(1, dtype=torch.int64), sp.l2(0.1), rng(1), seconds=0.0)
            assert found[0].verdict is Verdict.UNKNOWN
            assert "time" in found[0].reason


@pytest.mark.parametrize("settings", [{"n": 600}, {"n": 5000, "sequential": True}], ids=str)
def test_batch_order_and_shard_change_nothing(linear, x, y, settings):
    """The same certificate for a sample alone, among others, and in another order."""
    certify, victim, roll = smoothing.configure(**settings), smoothed(labels_of(linear), SIGMA), rng(40)

    def rows(chosen):
        some = torch.tensor(chosen)
        found = certify(victim, x[some], y[some], sp.l2(0.2), roll.take(some))
        return {row: (one.verdict, one.radius, one.proof) for row, one in zip(chosen, found, strict=True)}

    together = rows(list(range(8)))
    assert together == rows([5, 2, 7, 0, 1, 6, 4, 3])
    assert together == {**rows([0, 1, 2]), **rows([3]), **rows([4, 5, 6, 7])}
    other = smoothing.configure(**settings)(victim, x[:8], y[:8], sp.l2(0.2), rng(8, seed=1))
    assert [one.proof for one in other] != [one[2] for one in together.values()]


def test_the_bound_rests_on_fresh_copies(x, y):
    """No copy that chose the class is counted again, and no copy is asked about twice."""
    seen = []

    def model(batch):
        seen.append(batch.reshape(len(batch), -1).copy())
        return np.zeros(len(batch), int)

    for settings in ({"n": 700}, {"n": 700, "sequential": True}):
        seen.clear()
        smoothing.configure(n0=60, **settings)(smoothed(labels_of(model), SIGMA), x[:1], 0 * y[:1], sp.l2(10.0), rng(1))
        copies = np.concatenate(seen)
        assert len(copies) == 760
        assert len(np.unique(copies, axis=0)) == 760


def test_a_class_is_chosen_before_it_is_bounded():
    """One copy chooses the class; were its own votes counted, 10 draws of a fair coin would pass for 11 of 11 far too often."""
    model = labels_of(lambda x: (x[:, 0, 0, 0] > 0.5).astype(np.int64))
    x, y = torch.full((400, 1, 4, 4), 0.5), torch.zeros(400, dtype=torch.int64)
    found = smoothing.configure(n0=1, n=50, alpha=0.05)(smoothed(model, SIGMA), x, y, sp.l2(0.0), rng(400))
    assert sum(one.verdict is not Verdict.UNKNOWN for one in found) / 400 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_ending_early_saves_draws_and_decides_the_same(linear, x, y):
    victim, asked = smoothed(labels_of(linear), SIGMA), sp.l2(0.15)
    fixed, early = (smoothing.configure(n=5_000, sequential=one)(victim, x[:20], y[:20], asked, rng(20)) for one in (False, True))
    assert sum(one.proved != other.proved for one, other in zip(fixed, early, strict=True)) <= 2
    assert np.mean([one.proof.draws for one in early]) < 1500
    assert all(one.radius >= 0.15 for one in early if one.proved)


def test_a_family_shares_alpha(linear, x, y):
    victim = smoothed(labels_of(linear), SIGMA)
    alone, together = (smoothing.configure(n=1000, family=family)(victim, x[:3], y[:3], sp.l2(0.01), rng(3)) for family in (1, 500))
    for one, other in zip(alone, together, strict=True):
        assert other.radius < one.radius or one.radius == 0
        assert other.confidence == 1 - 0.001 / 500
        assert "500 samples" in other.guarantee


def test_more_copies_are_advised_only_where_they_would_help():
    """A plane 0.3 away, 200 copies, asked 0.28: possible with more. Asked 0.4: never."""
    model = labels_of(lambda x: (x[:, 0, 0, 0] > 0.2).astype(np.int64))
    x, y = torch.full((1, 1, 4, 4), 0.5), torch.ones(1, dtype=torch.int64)
    reasons = [smoothing.configure(n=200)(smoothed(model, SIGMA), x, y, sp.l2(asked), rng(1))[0].reason for asked in (0.25, 0.6)]
    assert "copies would be enough" in reasons[0]
    assert "about" in reasons[0]
    assert "no number of copies" in reasons[1]


class Shifts(Gaussian):
    """Four copies at known places, so that the gradient can be computed by hand."""

    def around(self, x, rng, count, domain):
        shift = torch.linspace(-0.2, 0.3, count, dtype=x.dtype).reshape(1, -1, 1, 1, 1)
        return Draws(x[:, None] + shift * torch.arange(1, 17, dtype=x.dtype).reshape(1, 1, 1, 4, 4) / 16)


class TestVictim:
    """What attacks and the judge ask."""

    def net(self):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3)).double()

    def test_gradient_of_the_mean_of_softmax(self):
        """Against autograd through all copies at once, for an objective that is not linear."""
        net, x = self.net(), samples(5).double()
        victim = smoothed(sp.victim(net, sp.image(1, 4, 4), search="plain"), noise=Shifts(0.1), search_draws=4)

        def objective(scores):
            return scores[:, 1] ** 2 - scores[:, 0]

        with victim.session():
            given = victim.gradient(x, objective)
        point = x.clone().requires_grad_(True)
        copies = Shifts(0.1).around(point, None, 4, None).points
        scores = net(copies.flatten(0, 1)).unflatten(0, (5, 4)).softmax(2).mean(1).log()
        value = objective(scores)
        (grad,) = torch.autograd.grad(value.sum(), point)
        torch.testing.assert_close(given.grad, grad)
        torch.testing.assert_close(given.scores, scores.detach())
        torch.testing.assert_close(given.value, value.detach())

    def test_answers_do_not_depend_on_the_batch(self):
        x = samples(9)
        victim = smoothed(sp.victim(self.net(), sp.image(1, 4, 4)), 0.5, draws=30)
        with victim.session(3):
            whole, parts = victim.scores(x), torch.cat([victim.scores(part) for part in x.split(2)])
            assert torch.equal(whole, parts)
            assert torch.equal(victim.label(x), torch.cat([victim.label(part) for part in x.split(4)]))
        with victim.session(4):
            assert not torch.equal(victim.scores(x), whole)

    def test_prediction_abstains_where_votes_are_even(self, linear):
        """On the plane -1, far from it the class; NaN is -1."""
        near = torch.full((20, 1, 4, 4), 0.5)
        far = near + 0.5 * torch.from_numpy(linear.normal / np.linalg.norm(linear.normal)).float().reshape(1, 1, 4, 4)
        victim = smoothed(labels_of(linear), SIGMA)
        with victim.session():
            assert (victim.label(near) == -1).double().mean() > 0.9
            assert victim.label(far).tolist() == [1] * 20
            assert smoothed(labels_of(lambda x: np.full(len(x), -1)), SIGMA).label(near).tolist() == [-1] * 20

    def test_confirmation_and_verdict_draw_anew(self):
        asked = []

        def model(x):
            asked.append(x.copy())
            return np.zeros(len(x), int)

        victim, x = smoothed(labels_of(model), SIGMA, draws=10), samples(1)
        with victim.session():
            victim.label(x)
            victim.decide(x, torch.zeros(1, 2))
        assert not np.array_equal(asked[0], asked[1])

    def test_an_evaluation_within_the_certified_radius_breaks_nothing(self, tmp_path):
        """On digits, PGD within the certified radius breaks no sample, and four times as far it breaks some.

        A prediction by few draws may abstain near the certified radius, so each sample is attacked `room` less far. There its class has at
        least the probability `share` (Cohen et al. 2019, theorem 1), and so few draws miss it with the probability `miss` at most.
        The clean prediction, the verdict and the certificate of each sample fail with a probability of 1e-4 at most, all together.
        """
        from sparring.models.load import load_model

        draws, alpha, share, count = 100, 1e-6, 0.85, 16
        needed = next(votes for votes in range(draws + 1) if 2 * binom.sf(votes - 1, draws, 0.5) <= 0.001)
        miss = binom.cdf(needed - 1, draws, share)
        assert count * (2 * miss + alpha) < 1e-4
        room = SIGMA * norm.ppf(share)

        data = sp.load("digits", split="test")
        x, y = data.x[:count], data.y[:count]
        victim = smoothed(load_model("zoo:digits-robust"), SIGMA, draws=draws, search_draws=2)
        found = smoothing.configure(n=1000, alpha=alpha)(victim, x, y, sp.l2(0.3), Rng.of(0, data.ids[:count]))
        radii = torch.tensor([one.radius for one in found], dtype=torch.float64) - room
        sure = radii > 0.05
        assert int(sure.sum()) >= 6

        def robust(times):
            run = sp.evaluate(victim, (x[sure], y[sure]), sp.l2(times * radii[sure]), ["pgd(steps=3)"], out=tmp_path / str(times), self_check=False)
            return run.robust_accuracy.value

        assert robust(1) == 1
        assert robust(4) < 1


def test_what_does_not_fit_is_refused(linear):
    plain, wrapped = labels_of(linear), smoothed(labels_of(linear), SIGMA)
    with pytest.raises(NeedsError, match="smoothed"):
        smoothing.check(plain, sp.l2(0.1))
    with pytest.raises(NeedsError, match="ablation"):
        smoothing.check(wrapped, sp.l0(1))
    smoothing.check(smoothed(plain, noise=ablation(3)), sp.l0(1))
    smoothing.check(smoothed(plain, noise=uniform(1.0)), sp.l1(1))
    for wrong in (lambda: gaussian(0.0), lambda: gaussian(float("nan")), lambda: ablation(0), lambda: smoothed(plain, draws=0), lambda: smoothed(linear)):
        with pytest.raises((PlanError, InputError)):
            wrong()
    with pytest.raises(PlanError, match="float_sound"):
        smoothed(plain, noise=uniform(1.0), float_sound=True)
    with pytest.raises(PlanError):
        smoothing.configure(n=0)(wrapped, samples(1), torch.zeros(1, dtype=torch.int64), sp.l2(0.1), rng(1))
    with pytest.raises(PlanError, match="one class"):
        smoothing.configure(joint=True, sequential=True)(wrapped, samples(1), torch.zeros(1, dtype=torch.int64), sp.l2(0.1), rng(1))
