"""Common corruptions: order of severities, independence of the batch, and values that can be worked out by hand."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from sparring.bench.corruption_error import corruption_error
from sparring.core.errors import InputError, NeedsError, PlanError, UnknownName
from sparring.core.expression import parse
from sparring.core.registry import find
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.domains.corruptions import blurs, fields
from sparring.domains.corruptions.corrupt import CORRUPTIONS, SEVERITIES, corrupt
from sparring.domains.image import Image
from sparring.domains.table import Column, Table
from sparring.metrics.corruption_error import CorruptionError
from sparring.models.callable import CallableVictim
from sparring.threats.corruptions import Corruptions
from sparring.threats.goals import Untargeted

NAMES = list(CORRUPTIONS)


def pictures(count, channels, side, seed=0):
    """Smooth coloured shapes with hard edges, in [0, 1]."""
    rng, line = torch.Generator().manual_seed(seed), torch.linspace(-1, 1, side)
    x = torch.zeros(count, channels, side, side)
    for one in range(count):
        for _ in range(5):
            row, column, radius = (torch.rand(3, generator=rng) * torch.tensor([2, 2, 0.5]) - torch.tensor([1, 1, -0.2])).tolist()
            inside = (line[:, None] - row) ** 2 + (line - column) ** 2 < radius**2
            colour = torch.rand(channels, 1, 1, generator=rng) * 0.8 + 0.1
            x[one] = torch.where(inside, colour, x[one] * 0.9 + 0.05)
    return x


def made(x, name, severity, rows=None, seed=0, **bounds):
    rows = range(len(x)) if rows is None else rows
    rng = Rng.of(seed, [f"p{row}" for row in rows])
    return corrupt(x[list(rows)], name, severity, rng, Image(tuple(x.shape[1:]), **bounds))


@pytest.mark.parametrize(("channels", "side"), [(3, 32), (1, 28), (3, 112)])
@pytest.mark.parametrize("name", NAMES)
def test_each_severity_changes_more_than_the_one_before(name, channels, side):
    """The mean distance to the clean image grows from severity to severity, from one that can be seen."""
    x = pictures(12 if side < 64 else 4, channels, side)
    sizes = [float((made(x, name, severity) - x).flatten(1).norm(dim=1).mean()) for severity in SEVERITIES]
    assert sizes == sorted(set(sizes)), sizes
    assert sizes[0] > 0.001 * side * math.sqrt(channels)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_does_not_depend_on_its_batch(name):
    """Alone, in another order and among others an image is corrupted the same, bit for bit; its bounds hold, on 256 levels."""
    x = pictures(6, 3, 20)
    whole = made(x, name, 4)
    assert whole.shape == x.shape
    assert whole.dtype == x.dtype
    assert torch.equal(made(x, name, 4, [5, 0, 3]), whole[[5, 0, 3]])
    assert torch.equal(made(x, name, 4, [2]), whole[[2]])
    assert 0 <= float(whole.min()) <= float(whole.max()) <= 1
    assert torch.allclose(whole * 255, (whole * 255).round(), atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 7), (3, 8, 8), (2, 5, 3)])
@pytest.mark.parametrize("name", NAMES)
def test_any_size_and_bounds(name, shape):
    """Tiny and oblong images, other numbers of channels and bounds such as [-1, 1]: finite, inside, of the same shape and type; and the
    bounds change nothing else."""
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for severity in (1, 5):
        plain, wide = made(x, name, severity), made(x * 2 - 1, name, severity, low=-1.0)
        assert plain.shape == x.shape
        assert plain.dtype == x.dtype
        assert float(wide.abs().max()) <= 1
        assert bool(((wide - (plain * 2 - 1)).abs() < 2.5 / 255).all())


def test_noise_has_the_published_strength():
    """On grey images: the deviation of Gaussian and shot noise, the share of impulses, at both published sizes."""
    for side, sigma, quanta, share in ((32, 0.10, 50, 0.07), (224, 0.38, 3, 0.27)):
        x = torch.full((4 if side < 100 else 1, 3, side, side), 0.5)
        noisy = Rng.of(0, range(len(x)))
        raw = CORRUPTIONS["gaussian_noise"](x.double(), 5, noisy) - 0.5
        assert float(raw.std()) == pytest.approx(sigma, rel=0.02)
        shot = CORRUPTIONS["shot_noise"](x.double(), 5, noisy)
        assert float(shot.mean()) == pytest.approx(0.5, rel=0.02)
        assert float(shot.var()) == pytest.approx(0.5 / quanta, rel=0.04)
        counts = (shot * quanta).round().flatten()[:4000].numpy()
        assert abs(np.mean(counts <= 0.5 * quanta) - stats.poisson(0.5 * quanta).cdf(0.5 * quanta)) < 0.03
        hit = CORRUPTIONS["impulse_noise"](x.double(), 5, noisy)
        assert float((hit != 0.5).double().mean()) == pytest.approx(share, rel=0.08)
        assert float((hit == 1).double().mean()) == pytest.approx(share / 2, rel=0.12)


def test_black_has_no_shot_noise():
    """Where no light comes in there is none to count."""
    assert not bool(made(torch.zeros(2, 1, 16, 16), "shot_noise", 5).any())


def test_brightness_and_contrast_by_hand():
    """Brightness raises the largest channel by its strength and keeps the ratios; contrast keeps the mean and shrinks the rest."""
    x = torch.tensor([0.4, 0.2, 0.1]).reshape(1, 3, 1, 1).expand(1, 3, 32, 32).contiguous()
    assert made(x, "brightness", 4)[0, :, 5, 5].tolist() == pytest.approx([0.6, 0.3, 0.15], abs=1 / 255)
    assert made(torch.zeros(1, 3, 32, 32), "brightness", 2).flatten().unique().tolist() == pytest.approx([0.1], abs=1 / 255)
    y = pictures(2, 3, 32)
    flat = made(y, "contrast", 5)
    assert torch.allclose(flat.mean((2, 3)), y.mean((2, 3)), atol=2e-3)
    assert float((flat - flat.mean((2, 3), keepdim=True)).norm() / (y - y.mean((2, 3), keepdim=True)).norm()) == pytest.approx(0.15, abs=0.01)


def test_pixelate_makes_blocks():
    """At a quarter of 224 pixels the image is 56 x 56 blocks of 4 x 4, each the mean of what it covers."""
    x = torch.rand(1, 1, 224, 224, generator=torch.Generator().manual_seed(2))
    blocks = torch.nn.functional.avg_pool2d(x, 4)
    assert torch.allclose(made(x, "pixelate", 5), blocks.repeat_interleave(4, 2).repeat_interleave(4, 3), atol=0.6 / 255)


@pytest.mark.parametrize("name", ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "pixelate", "elastic", "contrast"])
def test_what_moves_light_keeps_a_flat_image(name):
    """Blurs, warps and blocks of one colour are that colour."""
    assert torch.allclose(made(torch.full((2, 3, 24, 24), 0.6), name, 5), torch.full((2, 3, 24, 24), 0.6), atol=0.6 / 255)


def test_kernels():
    """The disk sums to 1 and has its radius; the Fourier filter is the plain sum; a Gaussian has its deviation; a smear its mean way."""
    kernel = blurs.disk(6.0, 0.5)
    line = torch.arange(len(kernel)) - len(kernel) // 2
    assert float(kernel.sum()) == pytest.approx(1)
    assert float((kernel.sum(0) * line**2).sum()) == pytest.approx(6**2 / 4, rel=0.1)  # an even disk has variance r^2 / 4 along each axis
    x = torch.rand(1, 2, 9, 12, dtype=torch.float64)
    small = blurs.disk(1.5, 0.1)
    padded = torch.nn.functional.pad(x, (len(small) // 2,) * 4, mode="replicate")
    plain = torch.nn.functional.conv2d(padded.reshape(2, 1, *padded.shape[2:]), small[None, None]).reshape(x.shape)
    assert torch.allclose(fields.filtered(x, small), plain, atol=1e-12)
    point = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    point[0, 0, 20, 20] = 1.0
    spread = fields.gaussian(point, 2.0)[0, 0].sum(0)
    assert float((spread * (torch.arange(41) - 20) ** 2).sum()) == pytest.approx(4, rel=0.01)
    smear = fields.streaked(point, torch.zeros(1), 9, 3.0)[0, 0, 20]
    weights = np.exp(-0.5 * (np.arange(13) / 3) ** 2)
    assert smear.flip(0)[20:33].tolist() == pytest.approx((weights / weights.sum()).tolist(), abs=1e-9)


def test_wrong_use():
    """Unknown names, severities and kinds of input are refused with what was seen."""
    x = pictures(2, 1, 8)
    with pytest.raises(UnknownName, match="did you mean fog"):
        made(x, "fogg", 1)
    with pytest.raises(InputError, match="severity 6"):
        made(x, "fog", 6)
    with pytest.raises(InputError, match="rng for 1"):
        corrupt(x, "fog", 1, Rng.of(0, [0]), Image((1, 8, 8)))
    for written in ("corruptions 0", "corruptions 7", "corruptions fog"):
        expression = parse(written)
        with pytest.raises(PlanError, match="highest severity"):
            find("space", "corruptions").parse(*expression.arguments)
    with pytest.raises(UnknownName):
        Corruptions.parse(3, "fog+sleet")


def test_the_space_is_the_list_of_versions():
    """Every version up to the severity is allowed and has its size; one of another image, of a higher severity or with one value changed by
    a level is not. What a plan writes is what `short` says."""
    x, domain = pictures(3, 3, 12), Image((3, 12, 12))
    expression = parse("corruptions 3 fog+gaussian_noise+frost")
    space = find("space", "corruptions").parse(*expression.arguments)
    assert space.label == "corruptions 3 fog+gaussian_noise+frost"
    for name in space.names:
        for severity in SEVERITIES:
            points = space.around(x, domain).corrupted(name, severity)
            fresh = space.around(x, domain)
            assert fresh.inside(points).tolist() == [severity <= 3] * 3
            assert fresh.size(points).tolist() == [severity] * 3
            assert not bool(fresh.inside(points.roll(1, 0)).any())
            points[:, 0, 3, 3] = (points[:, 0, 3, 3] - 1 / 255).abs()
            assert not bool(fresh.inside(points).any())
    again = space.around(x[[2]], domain).corrupted("fog", 2)
    assert torch.equal(again, space.around(x, domain).corrupted("fog", 2)[[2]])
    assert not torch.equal(again, Corruptions(3.0, space.names, seed=1).around(x[[2]], domain).corrupted("fog", 2))
    with pytest.raises(NeedsError, match="images"):
        space.around(torch.zeros(2, 1), Table((Column("a"),)))


class Dark:
    """Class 1 where the image is darker than 0.4 on average."""

    def __call__(self, x):
        mean = torch.as_tensor(x).double().flatten(1).mean(1)
        return torch.stack([mean - 0.4, 0.4 - mean], 1)


def test_the_attack_finds_the_least_severity():
    """On a model of the mean alone only brightness breaks a dark image, at the first severity that lifts it over the threshold."""
    x = torch.stack([torch.full((1, 16, 16), value) for value in (0.37, 0.28, 0.22, 0.02)])
    victim = CallableVictim(Dark(), Image((1, 16, 16)), name="dark", classes=2)
    threat = Threat(Corruptions(5.0, ("brightness", "contrast")), Untargeted())
    points = find("attack", "corruption")(victim, x, torch.ones(4, dtype=torch.int64), threat)
    assert threat.space.around(x, victim.domain).size(points).tolist()[:3] == [1, 3, 4]
    assert Dark()(points).argmax(1).tolist() == [0, 0, 0, 1]
    mild = find("attack", "corruption")(victim, x, torch.ones(4, dtype=torch.int64), threat, names="contrast")
    assert Dark()(mild).argmax(1).tolist() == [1] * 4


def test_corruption_error_by_hand():
    """Error rates, their mean, CE and mCE of a model that errs where it is bright, against a baseline that errs twice as often."""
    x = torch.stack([torch.full((1, 16, 16), value) for value in (0.37, 0.28, 0.22, 0.02)])
    victim = CallableVictim(Dark(), Image((1, 16, 16)), name="dark", classes=2)
    found = corruption_error(victim, (x, torch.ones(4, dtype=torch.int64)), names=("brightness", "contrast"))
    assert [found.error("brightness", severity).value for severity in SEVERITIES] == [0.25, 0.25, 0.5, 0.75, 0.75]
    assert found.mean == pytest.approx(0.25)
    assert math.isnan(found.mce)
    assert len(found.table()) == 10
    assert found.clean.value == 0
    wrong = np.zeros((2, 1, 4), dtype=bool)
    wrong[0, 0, 0] = wrong[1, 0, :2] = True
    worse = np.zeros_like(wrong)
    worse[0, 0, :2] = worse[1, 0, :3] = True
    calm = np.array([False, False, False, True])
    result = CorruptionError(("a", "b"), (3,), wrong, np.zeros(4, dtype=bool), CorruptionError(("a", "b"), (3,), worse, calm))
    assert result.mce == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert result.relative_mce == pytest.approx((1 / 1 + 2 / 2) / 2)
    assert result.summary().ce.tolist() == pytest.approx([1 / 2, 2 / 3])
    low, high = result.mean_interval
    assert low < result.mean < high
