"""Certificates against patches, held against every patch there is on tiny images."""

import itertools

import numpy as np
import pytest
import torch

import sparring as sp
from sparring.certification.certificate import Verdict
from sparring.certification.smoothing.patch_cleanser import masks_agree, patch_cleanser, spans
from sparring.certification.smoothing.patch_smoothing import band_vote, bands_agree, blocks, columns, rows
from sparring.core.errors import AccessError, InputError, NeedsError, PlanError
from sparring.core.rng import Rng
from sparring.models.callable import CallableVictim

SIDE = 5
DOMAIN = sp.image(SIDE, SIDE, low=-1.0)
HIDDEN = -1.0


def victim(function, classes=3, scores=False):
    return CallableVictim(function, DOMAIN, classes=classes, labels_only=not scores, fingerprint="by hand")


def brightness(x):
    """Class by the mean of the pixels that are seen: dark, middle, bright; -1 where nothing is seen. Takes values 0 and 1."""
    seen = x >= 0
    count = seen.sum((1, 2, 3))
    mean = np.where(seen, x, 0).sum((1, 2, 3)) / np.maximum(count, 1)
    return np.where(count == 0, -1, np.select([mean < 0.34, mean < 0.67], [0, 1], 2)).astype(np.int64)


def wild(x):
    """A classifier without any structure: a hash of what is seen, biased to class 0 and 1 by the first bright pixels."""
    rest = (x[:, 0] * np.arange(1, SIDE * SIDE + 1).reshape(SIDE, SIDE) ** 2).sum((1, 2)).astype(np.int64)
    return np.where(rest % 11 == 0, rest % 3, (x[:, 0] > 0).sum((1, 2)) > 12).astype(np.int64)


def images(count, seed=0):
    """Binary images, from dark to bright."""
    luck = torch.Generator().manual_seed(seed)
    share = torch.linspace(0, 1, count).reshape(-1, 1, 1, 1)
    return (torch.rand(count, 1, SIDE, SIDE, generator=luck) < share).float()


def patched(image, side):
    """All images [k, 1, SIDE, SIDE] that a patch of this side can make of one, with values 0 and 1; a single pixel may look hidden too."""
    fills = torch.tensor(list(itertools.product((HIDDEN, 0.0, 1.0)[side > 1 :], repeat=side * side))).reshape(-1, side, side)
    made = []
    for top, left in itertools.product(range(SIDE - side + 1), repeat=2):
        some = image.expand(len(fills), 1, SIDE, SIDE).clone()
        some[:, 0, top : top + side, left : left + side] = fills
        made.append(some)
    return torch.cat(made)


def certify(certifier, wrapped, x, side):
    with wrapped.session():
        y = wrapped.label(x).clamp_min(0)
    return y, certifier(wrapped, x, y, sp.patch(side), Rng.of(0, range(len(x))))


def none_breaks(wrapped, x, y, found, most):
    """No patch up to the certified side changes the answer; returns how many samples that was tried on."""
    tried = 0
    for image, label, one in zip(x, y.tolist(), found, strict=True):
        for side in range(1, min(int(one.radius), most) + 1):
            tried += 1
            with wrapped.session():
                assert set(wrapped.label(patched(image, side)).tolist()) == {label}
    return tried


@pytest.mark.parametrize("model", [brightness, wild])
@pytest.mark.parametrize("bands", [columns(1), rows(2), blocks(2), blocks(1)], ids=str)
def test_no_patch_breaks_a_certified_vote(model, bands):
    """Patches of side 1 and 2 on 24 images, all of them."""
    wrapped, x = band_vote(victim(model), bands, fill=HIDDEN), images(24)
    y, found = certify(bands_agree, wrapped, x, 1)
    tried = none_breaks(wrapped, x, y, found, 2)
    if model is brightness:
        assert tried > 1


def test_votes_by_scores_and_threshold():
    """Two classes may both pass a threshold below one half; a certified sample still stands, and a band without sight votes for none."""

    def scores(x):
        label = brightness(x)
        return np.where(label[:, None] == np.arange(3), 1.0, 0.2) * np.where(label[:, None] < 0, np.nan, 1.0)

    wrapped, x = band_vote(victim(scores, scores=True), blocks(2), threshold=0.3, fill=HIDDEN), images(24)
    with wrapped.session():
        assert int(wrapped.votes(torch.full((1, 1, SIDE, SIDE), HIDDEN)).sum()) == 0
        assert torch.equal(wrapped.scores(x).argmax(1), wrapped.label(x))
    y, found = certify(bands_agree, wrapped, x, 1)
    assert none_breaks(wrapped, x, y, found, 2) > 1


def test_ties_count_against_the_higher_class():
    """Votes 4, 4, ... are won by the lower class: equal counts certify nothing, and one more vote for the higher class is needed."""

    def first_pixel(x):
        return (x.max((1, 2, 3)) > 0).astype(np.int64)  # a band is bright or dark

    wrapped = band_vote(victim(first_pixel), columns(1), fill=0.0)
    for bright in range(SIDE + 1):
        x = torch.zeros(1, 1, SIDE, SIDE)
        x[..., :bright] = 1
        _, found = certify(bands_agree, wrapped, x, 0)
        winner, dark = int(bright > SIDE - bright), SIDE - bright
        lead = bright - dark - 1 if winner else dark - bright
        assert found[0].radius == min(lead // 2, SIDE)


@pytest.mark.parametrize("bands", [columns(2), rows(1), blocks(2), blocks(3), columns(5)], ids=str)
def test_windows_that_a_patch_meets(bands):
    """The count in the certificate is the largest over all places of the patch; every pixel lies in equally many windows."""
    windows = bands.windows(SIDE, 6)
    assert len({int(count) for count in windows.sum(0).flatten()}) == 1
    for side in range(SIDE + 1):
        met = [
            int(windows[:, top : top + side, left : left + side].any(2).any(1).sum())
            for top, left in itertools.product(range(SIDE - side + 1), range(6 - side + 1))
        ]
        assert max(met) == bands.touched(side, SIDE, 6)


def test_masks_cover_every_patch():
    """All lengths up to 16, all sides of patch and all numbers of masks: every place is covered, by no more masks than asked, inside the image."""
    for length in range(1, 17):
        for patch, count in itertools.product(range(1, length + 1), range(1, 9)):
            made = spans(length, patch, count)
            assert 1 <= len(made) <= count
            assert len({end - begin for begin, end in made}) == 1
            assert all(begin >= 0 and end <= length for begin, end in made)
            for smaller in range(1, patch + 1):
                assert all(any(begin <= at and at + smaller <= end for begin, end in made) for at in range(length - smaller + 1))


@pytest.mark.parametrize("model", [brightness, wild])
@pytest.mark.parametrize(("patch", "masks"), [(1, 2), (1, 5), (2, 2), (2, 4)])
def test_no_patch_breaks_what_two_masks_agree_on(model, patch, masks):
    wrapped, x = patch_cleanser(victim(model), patch, masks=masks, fill=HIDDEN), images(24)
    y, found = certify(masks_agree, wrapped, x, patch)
    tried = none_breaks(wrapped, x, y, found, patch)
    if model is brightness and patch == 1:
        assert tried > 5


def test_the_two_rounds_recover_what_a_patch_hides():
    """A trigger pixel turns the class; the plain model falls for it, the masked one does not; and the rule is that of the paper, by hand."""

    def trigger(x):
        return np.where((x[:, 0] == 1).any((1, 2)), 2, 1)

    wrapped, x = patch_cleanser(victim(trigger), 1, masks=3, fill=0.0), torch.full((1, 1, SIDE, SIDE), 0.5)
    hurt = x.clone()
    hurt[0, 0, 2, 2] = 1
    with wrapped.session():
        assert trigger(hurt.numpy()).tolist() == [2]
        assert wrapped.label(x).tolist() == wrapped.label(hurt).tolist() == [1]
        with pytest.raises(AccessError):
            wrapped.scores(x)


class TestHostile:
    def test_nan_is_never_proved(self):
        blind = victim(lambda x: np.full((len(x), 3), np.nan), scores=True)
        x, y = images(2), torch.zeros(2, dtype=torch.int64)
        for wrapped, certifier in ((band_vote(blind), bands_agree), (patch_cleanser(blind, 2), masks_agree)):
            assert all(one.verdict is not Verdict.PROVED and one.radius == 0 for one in certifier(wrapped, x, y + 1, sp.patch(2), Rng.of(0, range(2))))
            broken = x.clone()
            broken[:, 0, 0, 0] = torch.nan
            found = certifier(wrapped, broken, y, sp.patch(2), Rng.of(0, range(2)))
            assert all(one.verdict is Verdict.UNKNOWN and "NaN" in one.reason for one in found)

    def test_constant_is_proved_as_far_as_masks_and_bands_reach(self):
        constant, x, y = victim(lambda x: np.ones(len(x), int)), images(2), torch.ones(2, dtype=torch.int64)
        for wrapped, certifier in ((band_vote(constant, blocks(1)), bands_agree), (patch_cleanser(constant, 2), masks_agree)):
            assert [one.radius for one in certifier(wrapped, x, y, sp.patch(2), Rng.of(0, range(2)))] == [3 if certifier is bands_agree else 2] * 2
        assert all(one.verdict is Verdict.REFUTED for one in bands_agree(band_vote(constant), x, 0 * y, sp.patch(2), Rng.of(0, range(2))))
        larger = masks_agree(patch_cleanser(constant, 2), x, y, sp.patch(3), Rng.of(0, range(2)))
        assert all(one.verdict is Verdict.UNKNOWN and one.radius == 2 and "patch=3" in one.reason for one in larger)

    def test_abstention_is_unknown(self):
        silent = patch_cleanser(victim(lambda x: np.full(len(x), -1)), 2)
        found = masks_agree(silent, images(2), torch.zeros(2, dtype=torch.int64), sp.patch(2), Rng.of(0, range(2)))
        assert all(one.verdict is Verdict.UNKNOWN and "no answer" in one.reason for one in found)


def test_what_does_not_fit_is_refused():
    plain = victim(brightness)
    for certifier, wrapped in ((bands_agree, band_vote(plain)), (masks_agree, patch_cleanser(plain, 2))):
        certifier.check(wrapped, sp.patch(2))
        with pytest.raises(NeedsError, match="wrap the victim"):
            certifier.check(plain, sp.patch(2))
        with pytest.raises(NeedsError, match="patch"):
            certifier.check(wrapped, sp.l2(1.0))
    for wrong in (
        lambda: columns(0),
        lambda: band_vote(plain, threshold=2.0),
        lambda: patch_cleanser(plain, 6),
        lambda: patch_cleanser(plain, 2, masks=0),
        lambda: patch_cleanser(plain, 2.5),
        lambda: band_vote(brightness),
    ):
        with pytest.raises((PlanError, InputError)):
            wrong()
