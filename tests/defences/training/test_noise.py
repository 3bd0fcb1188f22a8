"""Training under noise: better under noise than plain training, the same again from the same seed, and nothing else is touched."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sparring.core.errors import InputError, PlanError
from sparring.data.load import load
from sparring.defences.training.noise import SmoothAdv, train_noise
from sparring.models.zoo import DigitsNet


def fresh():
    torch.manual_seed(0)
    return DigitsNet()


@pytest.fixture(scope="module")
def digits():
    data = load("digits", split="train")
    return data.x[:600], data.y[:600]


def noisy_accuracy(net, sigma):
    test = load("digits", split="test")
    noise = sigma * torch.randn(4, *test.x.shape, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        return float((net((test.x + noise).flatten(0, 1)).argmax(1) == test.y.repeat(4)).double().mean())


def test_learns_to_see_through_noise(digits):
    """Under noise of 0.5: far better than the same training with hardly any noise."""
    plain, trained = (train_noise(fresh(), *digits, sigma=sigma, epochs=12, batch=50, rate=8e-3) for sigma in (1e-3, 0.5))
    assert noisy_accuracy(trained, 0.5) > noisy_accuracy(plain, 0.5) + 0.1
    assert noisy_accuracy(trained, 0.5) > 0.6
    assert not trained.training


@pytest.mark.parametrize("adversary", [None, SmoothAdv(0.3, steps=1, draws=2)], ids=["noise", "smoothadv"])
def test_the_seed_decides_and_the_global_state_stays(digits, adversary):
    x, y = digits[0][:100], digits[1][:100]
    nets, told = [fresh(), fresh(), fresh()], []
    before = torch.random.get_rng_state()
    for net, seed in zip(nets, (1, 1, 2), strict=True):
        train_noise(net, x, y, epochs=2, seed=seed, adversary=adversary, listen=lambda event, details: told.append((event, details["epoch"])))
    assert torch.equal(before, torch.random.get_rng_state())
    first, second, third = (torch.cat([one.flatten() for one in net.parameters()]) for net in nets)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert told == [("epoch", 1), ("epoch", 2)] * 3


def test_smoothadv_stays_within_its_radius_and_raises_the_loss(digits):
    """On a trained net the shifted images are worse under the same noise than the images are, and than images shifted at random."""
    x, y = digits[0][:64], digits[1][:64]
    net = train_noise(fresh(), *digits, epochs=8, batch=50, rate=8e-3)
    noise = 0.25 * torch.randn(4, *x.shape, generator=torch.Generator().manual_seed(0))

    def loss(points):
        with torch.no_grad():
            scores = net((points + noise).flatten(0, 1)).unflatten(0, (4, 64))
        return float(F.nll_loss(scores.softmax(2).mean(0).log(), y))

    shifted = SmoothAdv(1.0, steps=4).shift(net, x, y, noise, 1.0)
    change = (shifted - x).flatten(1).norm(dim=1)
    assert float(change.max()) <= 1.0 + 1e-5
    assert float(change.mean()) > 0.9
    way = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    assert loss(shifted) > loss(x) + 0.2
    assert loss(shifted) > loss(x + way / way.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)) + 0.2


def test_a_flat_model_is_not_moved():
    """No gradient, no change, no NaN."""
    flat = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    nn.init.zeros_(flat[1].weight)
    x = torch.rand(3, 1, 2, 2)
    assert torch.equal(SmoothAdv(0.5).shift(flat, x, torch.zeros(3, dtype=torch.int64), torch.zeros(2, 3, 1, 2, 2), 0.5), x)


def test_wrong_use_is_refused(digits):
    x, y = digits
    for wrong in ((x[:3], y[:2]), (x[:0], y[:0]), ((x * 255).long(), y), (x * torch.nan, y)):
        with pytest.raises(InputError):
            train_noise(fresh(), *wrong)
    for settings in ({"sigma": 0.0}, {"epochs": 0}, {"rate": 0.0}, {"batch": 0}):
        with pytest.raises(PlanError):
            train_noise(fresh(), x, y, **settings)
    with pytest.raises(PlanError):
        SmoothAdv(0.0)
