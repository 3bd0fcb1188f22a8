"""Turns, flows and colour maps: images whose change can be worked out by hand, and points that must be refused."""

import math

import pytest
import torch
from torch import nn

from sparring.core.errors import NeedsError, PlanError
from sparring.core.expression import parse
from sparring.core.registry import find
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.models.torch import TorchVictim
from sparring.threats.balls import Linf
from sparring.threats.colour import Colour
from sparring.threats.flow import Flow
from sparring.threats.goals import Untargeted
from sparring.threats.spatial import Spatial


def noise(count, channels, side, dtype=torch.float32):
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)


def space_of(written):
    expression = parse(written)
    return find("space", expression.name).parse(*expression.arguments, **expression.settings)


def which(region, angle, down, right):
    """The place of a combination in the grid of a region."""
    wanted = torch.tensor([math.radians(angle), down, right], dtype=torch.float64)
    return int((region.grid[:, :3] - wanted).abs().sum(1).argmin())


def test_quarter_turns_and_whole_shifts():
    """A turn by 90 degrees is a rotation of the array, a shift by whole pixels moves it and leaves black behind."""
    x = noise(2, 3, 7)
    region = Spatial(1.0, 90.0, 2.0, angles=3, shifts=5).around(x, Image((3, 7, 7)))
    turned = [region.turned(torch.full((2,), which(region, angle, 0, 0))) for angle in (-90, 90)]
    expected = [torch.rot90(x, turns, (2, 3)) for turns in (1, -1)]
    assert any(torch.allclose(turned[0], one, atol=1e-6) for one in expected)
    assert torch.allclose(torch.rot90(turned[0], 2, (2, 3)), turned[1], atol=1e-6)
    moved = region.turned(torch.full((2,), which(region, 0, 1, -2)))
    assert torch.allclose(moved[:, :, 1:, :5], x[:, :, :-1, 2:], atol=1e-6)
    assert float(moved[:, :, 0].abs().max()) < 1e-6
    assert float(moved[:, :, :, 5:].abs().max()) < 1e-6
    assert torch.equal(region.turned(torch.full((2,), which(region, 0, 0, 0))), x)


def test_black_is_the_lowest_value():
    """In images of [-1, 1] what comes from outside is -1."""
    x = noise(1, 1, 6) * 2 - 1
    region = Spatial(1.0, 0.0, 3.0, shifts=3).around(x, Image((1, 6, 6), low=-1.0))
    moved = region.turned(torch.tensor([which(region, 0, 3, 0)]))
    assert torch.allclose(moved[:, :, :3], torch.tensor(-1.0), atol=1e-6)


def test_the_grid_of_the_paper():
    """31 x 5 x 5 combinations; shares of the sides or pixels; without degrees or shift the other alone; the smallest reach first."""
    x = noise(1, 3, 32)
    domain = Image((3, 32, 32))
    region = space_of("spatial 30 0.1").around(x, domain)
    assert region.combinations() == 775
    assert float(region.grid[:, 1].max()) == pytest.approx(3.2)
    assert float(region.grid[:, 0].min()) == pytest.approx(-math.pi / 6)
    assert region.grid[:, 3].tolist() == sorted(region.grid[:, 3].tolist())
    assert float(space_of("spatial 30 3").around(x, domain).grid[:, 2].max()) == 3
    assert space_of("spatial 0 3").around(x, domain).combinations() == 25
    assert space_of("spatial 30 0").around(x, domain).combinations() == 31
    assert space_of("spatial 30 0.1").label == "spatial 30 0.1"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_only_combinations_of_the_grid_are_allowed(dtype):
    """Each combination within the radius is allowed, with its reach as size; a turn between two of them, another image's, and one with a
    changed pixel are not."""
    x, domain = noise(3, 3, 12, dtype), Image((3, 12, 12))
    space = Spatial(torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64), 30.0, 0.2, angles=7, shifts=3)
    region = space.around(x, domain)
    for place in range(0, region.combinations(), 5):
        points = region.turned(torch.full((3,), place))
        reach = float(region.reach(torch.tensor([place])))
        assert region.size(points).tolist() == pytest.approx([reach] * 3)
        assert region.inside(points).tolist() == [reach <= radius for radius in (1.0, 0.5, 0.0)]
        if reach:
            assert not bool(region.inside(points.roll(1, 0)).any())
            points[:, 1, 5, 5] += 1e-3
            assert not bool(region.inside(points).any())
    between = Spatial(1.0, 25.0, 0.2, angles=3, shifts=3).around(x, domain)
    assert not bool(region.inside(between.turned(torch.full((3,), which(between, 25, 0, 0)))).any())


class Corner(nn.Module):
    """Class 1 where the upper left quarter is brighter than the rest."""

    def forward(self, x):
        quarter = x[:, :, :4, :4].mean((1, 2, 3))
        rest = (x.sum((1, 2, 3)) - x[:, :, :4, :4].sum((1, 2, 3))) / (x[0].numel() - x[0, :, :4, :4].numel())
        return torch.stack([rest - quarter, quarter - rest], 1) * 10


def test_spatial_grid_finds_the_least_reach():
    """A bright corner leaves its quarter only by a large turn: the exhaustive search finds the smallest of the grid, random
    search no smaller one."""
    x = torch.zeros(2, 1, 8, 8)
    x[:, :, 1:3, 1:3] = 1.0
    victim = TorchVictim(Corner(), Image((1, 8, 8)), search="plain")
    threat = Threat(Spatial(1.0, 90.0, 0.0, angles=19), Untargeted())
    y = torch.ones(2, dtype=torch.int64)
    region = threat.space.around(x, victim.domain)
    with torch.no_grad():
        breaking = [
            float(region.reach(torch.tensor([place])))
            for place in range(region.combinations())
            if int(Corner()(region.turned(torch.full((2,), place)))[0].argmax()) == 0
        ]
    assert breaking
    points = find("attack", "spatial_grid")(victim, x, y, threat)
    assert region.size(points).tolist() == pytest.approx([min(breaking)] * 2)
    tried = find("attack", "spatial_random")(victim, x, y, threat, tries=40)
    assert bool((region.size(tried) >= min(breaking) - 1e-9).all())
    assert victim.label(tried).tolist() == [0, 0]


def test_a_flow_by_hand():
    """A constant flow of one pixel is a shift with the edge repeated; half a pixel is the mean of two neighbours; farther is refused."""
    x, domain = noise(2, 3, 6), Image((3, 6, 6))
    region = Flow(1.0).around(x, domain)
    flow = torch.zeros(2, 2, 6, 6, dtype=torch.float64)
    flow[:, 1] = 1.0
    moved = region.warped(flow)
    assert torch.allclose(moved[..., :-1], x[..., 1:], atol=1e-6)
    assert torch.allclose(moved[..., -1], x[..., -1], atol=1e-6)
    flow[:, 1] = 0.5
    half = region.warped(flow)
    assert torch.allclose(half[..., :-1], (x[..., 1:] + x[..., :-1]) / 2, atol=1e-6)
    assert region.inside(moved).tolist() == region.inside(half).tolist() == [True, True]
    assert not bool(Flow(0.45).around(x, domain).inside(half).any())
    assert not bool(Flow(0.7).around(x, domain).inside(moved).any())
    flow[:, 1] = 2.0
    assert torch.equal(region.warped(flow), moved)  # cut to the radius
    two = torch.cat([x[..., 2:], x[..., -1:], x[..., -1:]], 3)
    assert not bool(region.inside(two).any())
    assert region.inside((x - 0.05).clamp(0, 1)).tolist() == [False, False]  # darker, but not moved


@pytest.mark.parametrize("radius", [0.3, 1.0, 1.7])
def test_every_flow_is_allowed(radius):
    """Random flows within the radius, in both types and as deployed in 8 bits, pass the check; their size is at most the radius."""
    for dtype, deployed in ((torch.float32, "float"), (torch.float64, "float"), (torch.float32, "8bit")):
        x, domain = noise(3, 3, 9, dtype), Image((3, 9, 9), deployed=deployed)
        x = (x * 255).round() / 255 if deployed == "8bit" else x
        region = Flow(radius).around(x, domain)
        for turn in range(4):
            points = domain.deploy(region.sample(Rng.of(turn, range(3))), x)
            assert region.inside(points).all()
            assert bool((region.size(points) <= radius).all())
    assert not bool(Flow(0.0).around(x, domain).inside(points).any())


def test_a_colour_map_by_hand():
    """Equal colours must change alike: a brighter copy of a two-coloured image is allowed, one with a pixel of its own is not, nor is
    a change beyond the radius."""
    x, domain = torch.where(noise(2, 3, 8) > 0.5, 0.7, 0.2).float(), Image((3, 8, 8))
    region = Colour(0.1).around(x, domain)
    brighter = torch.where(x > 0.5, x + 0.09, x - 0.04)
    assert region.inside(brighter).tolist() == [True, True]
    odd = brighter.clone()
    odd[0, 0, 4, 4] = x[0, 0, 4, 4]
    assert region.inside(odd).tolist() == [False, True]
    assert "no map" in region.complaint(odd)[0]
    assert region.inside(x + 0.11).tolist() == [False, False]
    assert "too far" in region.complaint(x + 0.11)[0]
    grey, curve = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8), Colour(0.05, nodes=3)
    region = curve.around(grey, Image((1, 8, 8)))
    tent = grey + 0.05 * (1 - (2 * grey - 1).abs())
    assert bool(region.inside(tent))
    assert not bool(region.inside(grey + 0.05 * torch.sin(grey * 12).abs() * (1 - grey)))


@pytest.mark.parametrize("channels", [1, 3])
def test_every_colour_map_is_allowed(channels):
    """Random maps pass the check in both types and in 8 bits, stay in the bounds and within the radius, and move something."""
    for dtype, deployed in ((torch.float32, "float"), (torch.float64, "float"), (torch.float32, "8bit")):
        x, domain = noise(3, channels, 10, dtype), Image((channels, 10, 10), deployed=deployed)
        x = (x * 255).round() / 255 if deployed == "8bit" else x
        region = Colour(0.1, nodes=4).around(x, domain)
        for draw in (region.sample, region.corner):
            points = domain.deploy(draw(Rng.of(1, range(3))), x)
            assert region.inside(points).all()
            assert bool((region.size(points) > 0.02).all())
    apart = (x + 0.05 * (noise(3, channels, 10).flip(0, 2) - 0.5)).clamp(0, 1)
    assert not bool(Colour(0.1, nodes=4).around(x, Image((channels, 10, 10))).inside(apart).any())


class Bright(nn.Module):
    """Class 1 where the image is brighter than 0.5 on average."""

    def forward(self, x):
        mean = x.mean((1, 2, 3)) - 0.5
        return torch.stack([-mean, mean], 1) * 20


def test_recoloradv_reaches_what_a_colour_map_can():
    """The mean of an image falls by just the radius where no bound is in the way: with it above the threshold by less, it falls."""
    x = noise(2, 1, 8) * 0.2 + torch.tensor([0.48, 0.52]).reshape(2, 1, 1, 1)
    excess = (x.mean((1, 2, 3)) - 0.5).tolist()
    victim, y = TorchVictim(Bright(), Image((1, 8, 8)), search="plain"), torch.ones(2, dtype=torch.int64)
    for share, expected in ((1.05, 0), (0.95, 1)):
        radii = torch.tensor(excess, dtype=torch.float64) * share
        points = find("attack", "recoloradv")(victim, x, y, Threat(Colour(radii, nodes=4), Untargeted()))
        assert victim.label(points).tolist() == [expected] * 2


def test_stadv_reaches_what_a_flow_can():
    """The darkest image that a flow of one pixel can make is the least of each 3 x 3 window: where that is dark enough it is
    found, where it is not, nothing is."""
    x = nn.functional.interpolate(noise(6, 1, 4), (10, 10), mode="bilinear", align_corners=True) * 0.4 + 0.4
    least = -nn.functional.max_pool2d(nn.functional.pad(-x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    victim, y = TorchVictim(Bright(), Image((1, 10, 10)), search="plain"), torch.ones(6, dtype=torch.int64)
    shift = torch.tensor([0.03, 0.03, 0.03, -0.01, -0.01, -0.01]).reshape(6, 1, 1, 1)
    x = (x - (least.mean((1, 2, 3), keepdim=True) - 0.5) - shift).clamp(0, 1)  # the best is 0.47 or 0.51
    points = find("attack", "stadv")(victim, x, y, Threat(Flow(1.0), Untargeted()))
    assert victim.label(points).tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("name", ["blur", "contrast", "salt_and_pepper"])
def test_controls_stay_inside_and_move(name):
    """Every point that a control asks lies in the ball, also in columns without bounds, and differs from the clean input."""
    x = noise(3, 1, 6)
    victim, asked = TorchVictim(Bright(), Image((1, 6, 6)), search="plain"), []
    inner = victim.search_scores
    victim.search_scores = lambda points: asked.append(points.clone()) or inner(points)
    find("attack", name)(victim, x, inner(x).argmax(1), Threat(Linf(1e-3), Untargeted()), tries=9)
    assert len(asked) == 9
    for points in asked[1:]:
        assert float((points - x).abs().max()) <= 1e-3 + 1e-6
        assert float((points - x).abs().max()) > 1e-5
    assert find("attack", name).control


def test_wrong_use():
    """Spaces of images refuse tables and settings that cannot be."""
    from sparring.domains.table import Column, Table

    for space in (Spatial(1.0), Flow(1.0), Colour(0.1)):
        with pytest.raises(NeedsError, match="image"):
            space.around(torch.zeros(2, 1), Table((Column("a"),)))
    with pytest.raises(NeedsError, match="1 or 3 channels"):
        Colour(0.1).around(torch.zeros(1, 2, 4, 4), Image((2, 4, 4)))
    for written, said in (("spatial 30 0.1 4", "odd"), ("spatial 30 none", "number"), ("flow far", "pixels"), ("colour 0.1 1", "2 to 16")):
        with pytest.raises(PlanError, match=said):
            space_of(written)
