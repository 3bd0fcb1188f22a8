"""Losses against closed forms, sampled points and the module itself."""

import copy
import dataclasses
import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sparring.certification.networks.bounds.inputs import InputSet
from sparring.core.errors import NeedsError, PlanError, UsageError
from sparring.defences.training.cc_ibp import CcIbp
from sparring.defences.training.crown_ibp import CrownIbp
from sparring.defences.training.exp_ibp import ExpIbp
from sparring.defences.training.ibp import Ibp, interval_gaps
from sparring.defences.training.initialisation import interval_initialisation
from sparring.defences.training.live import LiveNetwork
from sparring.defences.training.mtl_ibp import MtlIbp
from sparring.defences.training.pgd import BoxPgd
from sparring.defences.training.regulariser import Regulariser
from sparring.defences.training.sabr import Sabr
from sparring.defences.training.step import Step
from sparring.domains.image import image
from sparring.threats.balls import L2, Linf

PLAIN = {"regulariser": None}
ALL = [Ibp(**PLAIN), CrownIbp(**PLAIN), CrownIbp(crown=(1, 1), **PLAIN), Sabr(**PLAIN), MtlIbp(**PLAIN), CcIbp(**PLAIN), ExpIbp(**PLAIN)]


def made(module, x, y, radius=0.1, share=1.0, space=Linf):
    """A step of training at this radius on images [n, 1, h, w]."""
    module.train()
    return Step(module, x, y, space(radius * share), image(*x.shape[1:]), share, torch.Generator().manual_seed(7), live(module, tuple(x.shape[1:])))


live = functools.lru_cache(LiveNetwork)
"""Reading a module takes longer than all else here: each is read once."""


def samples(count=6, side=3, classes=4, seed=0, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, side, side, generator=rng, dtype=dtype), torch.randint(classes, (count,), generator=rng)


@functools.cache
def linear(classes=4, side=3):
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(side * side, classes)).double()


@functools.cache
def bent(classes=4, norm=False):
    torch.manual_seed(2)
    parts = [nn.Conv2d(1, 3, 2), *([nn.BatchNorm2d(3)] if norm else []), nn.ReLU(), nn.Flatten(), nn.Linear(12, 8)]
    return nn.Sequential(*parts, *([nn.BatchNorm1d(8)] if norm else []), nn.ReLU(), nn.Linear(8, classes)).double()


def number(value):
    return float(value.detach())


def corner_entropy(weight, bias, low, high, y):
    """Mean cross-entropy where every rival meets its own worst corner of the box, written out in NumPy."""
    total = 0.0
    for one, top, label in zip(low, high, y, strict=True):
        excess = [0.0]
        for rival in range(len(weight)):
            if rival != label:
                d = weight[rival] - weight[label]
                excess.append(float(np.where(d > 0, d * top, d * one).sum() + bias[rival] - bias[label]))
        total += float(np.log(np.exp(excess).sum()))
    return total / len(y)


def box_of(x, radius):
    flat = x.flatten(1).numpy()
    return np.clip(flat - radius, 0, 1), np.clip(flat + radius, 0, 1)


@pytest.mark.parametrize(
    "loss",
    [Ibp(**PLAIN), CrownIbp(**PLAIN), CrownIbp(crown=(1, 1), **PLAIN), Sabr(ratio=1, **PLAIN), MtlIbp(1.0, **PLAIN), CcIbp(1.0, **PLAIN), ExpIbp(1.0, **PLAIN)],
)
def test_bounds_of_a_linear_network_are_its_worst_corners(loss):
    (x, y), net = samples(), linear()
    exact = corner_entropy(net[1].weight.detach().numpy(), net[1].bias.detach().numpy(), *box_of(x, 0.1), y.tolist())
    assert number(loss(made(net, x, y))) == pytest.approx(exact, rel=1e-9)


def test_two_linear_layers_backward_bounds_are_exact_and_intervals_are_not():
    (x, y), net = samples(), nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.Linear(5, 4)).double()
    first, second = (part.weight.detach().numpy() for part in net[1:])
    shift = second @ net[1].bias.detach().numpy() + net[2].bias.detach().numpy()
    low, high = box_of(x, 0.1)
    assert number(CrownIbp(crown=(1, 1), **PLAIN)(made(net, x, y))) == pytest.approx(corner_entropy(second @ first, shift, low, high, y.tolist()), rel=1e-9)
    middle, half = (low + high) / 2 @ first.T + net[1].bias.detach().numpy(), (high - low) / 2 @ np.abs(first).T
    by_layer = corner_entropy(second, net[2].bias.detach().numpy(), middle - half, middle + half, y.tolist())
    assert number(Ibp(**PLAIN)(made(net, x, y))) == pytest.approx(by_layer, rel=1e-9)
    assert number(CrownIbp(crown=(0, 0), **PLAIN)(made(net, x, y))) == pytest.approx(by_layer, rel=1e-9)


@pytest.mark.parametrize("loss", [kind(0.0, BoxPgd(6, 1.0), **PLAIN) for kind in (MtlIbp, CcIbp, ExpIbp, Sabr)])
def test_the_other_end_is_adversarial_training(loss):
    """Of two classes and a linear network the worst point is one corner, which ascent finds."""
    (x, y), net = samples(classes=2), linear(2)
    exact = corner_entropy(net[1].weight.detach().numpy(), net[1].bias.detach().numpy(), *box_of(x, 0.1), y.tolist())
    assert number(loss(made(net, x, y))) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("kind", [MtlIbp, CcIbp, ExpIbp])
def test_expressive_losses_lie_between_the_attack_and_the_bound(kind):
    (x, y), net = samples(), bent()
    found = [number(kind(weight, BoxPgd(4, 0.5), **PLAIN)(made(net, x, y))) for weight in (0.0, 0.3, 0.7, 1.0)]
    assert found == sorted(found)
    assert found[0] < found[3]
    assert found[3] == pytest.approx(number(Ibp(**PLAIN)(made(net, x, y))), rel=1e-12)


@pytest.mark.parametrize("loss", [Ibp(**PLAIN), CrownIbp(crown=(1, 1), **PLAIN), CrownIbp(crown=(0.5, 0.5), **PLAIN)])
@pytest.mark.parametrize("norm", [False, True])
def test_no_point_of_the_box_has_a_larger_loss_than_the_bound(loss, norm):
    (x, y), net = samples(count=4), bent(norm=norm)
    step = made(net, x, y, radius=0.2)
    bound = number(loss(step))
    network, rng = step.network, torch.Generator().manual_seed(1)
    points = [step.box.low + (step.box.high - step.box.low) * torch.rand(x.shape, generator=rng, dtype=x.dtype).round() for _ in range(300)]
    losses = torch.stack([F.cross_entropy(network(point), y, reduction="none") for point in points]).amax(0)
    assert float(losses.detach().mean()) <= bound
    assert bound < 40


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("norm", [False, True])
def test_at_radius_0_value_and_gradients_are_those_of_plain_training(loss, norm):
    """With batch normalisation: those of the module in training mode, statistics of the batch and their gradients included."""
    (x, y), net = samples(), bent(norm=norm)
    value = loss(made(net, x, y, radius=0.0, share=0.0))
    mine = torch.autograd.grad(value, list(net.parameters()))
    plain = F.cross_entropy(net.train()(x), y)
    torch.testing.assert_close(value, plain)
    for one, other in zip(mine, torch.autograd.grad(plain, list(net.parameters())), strict=True):
        torch.testing.assert_close(one, other)


def test_running_statistics_move_once_a_step_and_are_put_back():
    (x, y), net = samples(), copy.deepcopy(bent(norm=True))
    for part in (net[1], net[5]):
        part.reset_parameters()
    expected = torch.nn.BatchNorm2d(3).double()
    expected(net[0](x))
    buffer = net[1].running_mean
    step = made(net, x, y)
    Sabr(**PLAIN)(step).backward()
    assert net[1].running_mean is buffer
    assert not buffer.requires_grad
    torch.testing.assert_close(net[1].running_mean, expected.running_mean)
    torch.testing.assert_close(net[1].running_var, expected.running_var)
    assert int(net[1].num_batches_tracked) == 1


def test_batch_normalisation_used_twice_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.last = nn.BatchNorm1d(9), nn.Linear(9, 4)

        def forward(self, x):
            return self.last(self.norm(self.norm(x.flatten(1)).relu()))

    with pytest.raises(NeedsError, match="norm is used twice"):
        Ibp()(made(Twice().double(), *samples()))


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.4, 1.0])
def test_small_boxes_lie_inside_the_large_one_near_the_point(ratio):
    rng = torch.Generator().manual_seed(3)
    low = torch.rand(50, 1, 4, 4, generator=rng)
    high = low + torch.rand(low.shape, generator=rng)
    point = low + (high - low) * torch.rand(low.shape, generator=rng)
    point[:5], point[5:10] = low[:5], high[5:10]
    small = Sabr(ratio).small(InputSet(low, high), point)
    assert bool((small.low >= low).all())
    assert bool((small.high <= high).all())
    assert bool((small.low <= small.high).all())
    torch.testing.assert_close(small.high - small.low, ratio * (high - low), atol=1e-6, rtol=1e-5)
    half, middle = ratio * (high - low) / 2, (small.low + small.high) / 2
    fits = (point - half >= low) & (point + half <= high)
    torch.testing.assert_close(middle[fits], point[fits])
    assert bool((middle - point).abs().le(half + 1e-6).all())  # at worst the point is on the edge of the small box


def test_the_attack_stays_in_the_box_and_gains():
    (x, y), net = samples(count=20), bent()
    step = made(net, x, y, radius=0.2)
    point = BoxPgd()(step)
    assert bool(step.box.contains(point).all())
    assert number(F.cross_entropy(net(point), y)) > number(F.cross_entropy(net(x), y))
    assert not point.requires_grad
    assert all(one.grad is None for one in net.parameters())


def test_the_natural_loss_is_mixed_in_as_the_radius_grows():
    (x, y), net = samples(), bent()
    natural, robust = number(F.cross_entropy(net(x), y)), number(Ibp(**PLAIN)(made(net, x, y, 0.2, 0.5)))
    assert number(Ibp((1.0, 0.5), **PLAIN)(made(net, x, y, 0.2, 0.5))) == pytest.approx(0.75 * natural + 0.25 * robust)


def test_balance_by_hand():
    """One hidden layer of four neurons with known bounds."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[1.0], [1.0], [4.0], [1.0]]))
        net[1].bias.copy_(torch.tensor([1.0, 3.0, -2.0, -1.5]))
    x = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)
    step = made(net, x, torch.tensor([0]), radius=0.2, share=0.5)  # x in [0.4, 0.6]
    values, _ = interval_gaps(step, step.box)
    # The middles 1.5, 3.5, 0, -1 have mean 1; the first two are active, the third open, the last inactive. Widths 0.2, 0.2, 0.8, 0.2.
    sums, spread, width = 1.0 / 5.0, 4.0 / (0.25 + 6.25), 0.2 / 0.35
    assert number(Regulariser()(step.network, values, 0.5)) == pytest.approx(0.5 * 0.5 * (0.5 - sums) / 0.5)
    assert number(Regulariser()(step.network, values, 1.0)) == 0
    assert number(Regulariser(1.0, 0.9)(step.network, values, 0.0)) == pytest.approx((3 * 0.9 - sums - spread - width) / 0.9)


def test_intervals_keep_their_width_under_the_start_of_shi():
    """The mean width in a layer stays near to twice that of the input, however wide and deep; of the usual start it grows from layer to layer."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 10))
    x = torch.rand(2, 1, 28, 28)

    def growth():
        step = made(net, x, torch.zeros(2, dtype=torch.int64), 0.001)
        values, _ = interval_gaps(step, step.box)
        return [number((value.high - value.low).mean() / (values[0].high - values[0].low).mean()) for value in (values[2], values[4])]

    usual = growth()
    interval_initialisation(net, torch.Generator().manual_seed(0))
    # fan-in E|w| = 2 for each layer, and a ReLU is open for half of the neurons.
    assert growth() == pytest.approx([2.0, 2.0], rel=0.15)
    assert usual[0] > 10
    assert usual[1] > 50
    assert float(net[5].weight.detach().abs().max()) == pytest.approx(1000**-0.5, rel=0.01)
    assert not bool(net[1].bias.any())


def test_only_boxes_are_bounded():
    with pytest.raises(NeedsError, match="train with linf"):
        Ibp()(made(linear(), *samples(), space=L2))


@pytest.mark.parametrize("build", [lambda: Sabr(1.5), lambda: MtlIbp(-0.1), lambda: BoxPgd(0), lambda: BoxPgd(step_size=0.0)])
def test_settings_that_mean_nothing_are_refused(build):
    with pytest.raises(PlanError):
        build()


@pytest.mark.parametrize("loss", ALL)
def test_losses_are_frozen_values(loss):
    with pytest.raises(dataclasses.FrozenInstanceError):
        loss.regulariser = Regulariser()
    assert loss == dataclasses.replace(loss)
    assert issubclass(PlanError, UsageError)
