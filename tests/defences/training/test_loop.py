"""The loop: what it leaves alone, how it goes on after an interruption, how it stops."""

import copy
import json

import pytest
import safetensors
import torch
import torch.nn.functional as F
from torch import nn

import sparring as sp
from sparring.core.errors import InputError, LoadError, PlanError
from sparring.defences.training.checkpoint import NAME
from sparring.defences.training.loop import train
from sparring.defences.training.optimiser import Adam, Cycle, Sgd
from sparring.defences.training.radius_schedule import RadiusSchedule


def plain(step):
    return F.cross_entropy(step.scores, step.y)


def noisy(step):
    """Draws from the rng of the training and, through dropout, from the global state."""
    return F.cross_entropy(step.live.scores(step.x + 0.1 * torch.randn(step.x.shape, generator=step.rng)), step.y)


def scrambled(module, rng):
    with torch.no_grad():
        for one in module.parameters():
            one.add_(0.1 * torch.randn(one.shape, generator=rng))


def net():
    torch.manual_seed(4)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(144, 10))


def data(count=130):
    return sp.load("digits", split="train", take=count)


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("optimiser", [Adam(1e-3, 0.01), Sgd(0.05), Sgd(0.05, 0.0)])
def test_resumed_training_is_the_uninterrupted_one_bit_for_bit(tmp_path, optimiser):
    settings = {"epochs": 5, "batch": 32, "optimiser": optimiser, "schedule": Cycle(), "initialisation": scrambled, "seed": 3}
    told = []
    whole = state(train(net(), data(), sp.linf(0.1), noisy, **settings, listen=lambda event, details: told.append(details)))

    def stop(event, details):
        if details["epoch"] in (2, 3):
            raise Interrupted

    for epoch in (2, 3):
        with pytest.raises(Interrupted):
            train(net(), data(), sp.linf(0.1), noisy, **settings, folder=tmp_path, listen=stop)
        with safetensors.safe_open(tmp_path / NAME, "pt") as held:
            assert json.loads(held.metadata()["training"])["epoch"] == epoch
        torch.rand(7)  # what the user draws between does not matter
    again = []
    resumed = train(net(), data(), sp.linf(0.1), noisy, **settings, folder=tmp_path, listen=lambda event, details: again.append(details))
    assert same(state(resumed), whole)
    assert [one["epoch"] for one in again] == [4, 5]
    assert [one["loss"] for one in again] == [one["loss"] for one in told[3:]]
    finished = train(net(), data(), sp.linf(0.1), noisy, **settings, folder=tmp_path, listen=stop)
    assert same(state(finished), whole)
    assert [one.name for one in tmp_path.iterdir()] == [NAME]
    other = train(net(), data(), sp.linf(0.1), noisy, **{**settings, "seed": 4})
    assert not same(state(other), whole)


@pytest.mark.parametrize("training", [True, False])
def test_module_data_and_randomness_stay_as_they_are(training):
    module, samples = net().train(training), data()
    module[0].weight.grad = torch.ones_like(module[0].weight)
    before, x, y, luck = state(module), samples.x.clone(), samples.y.clone(), torch.get_rng_state()
    trained = train(module, samples, sp.linf(0.1), noisy, epochs=1, batch=32)
    assert same(state(module), before)
    assert module.training is training
    assert torch.equal(module[0].weight.grad, torch.ones_like(module[0].weight))
    assert torch.equal(samples.x, x)
    assert torch.equal(samples.y, y)
    assert torch.equal(torch.get_rng_state(), luck)
    assert not trained.training
    assert not same(state(trained), before)


def test_frozen_parameters_stay():
    module = net()
    module[0].requires_grad_(False)
    trained = train(module, data(), sp.linf(0.1), plain, epochs=1, batch=32, optimiser=Adam(1e-2, 0.1))
    assert torch.equal(trained[0].weight, module[0].weight)
    assert not torch.equal(trained[5].weight, module[5].weight)


def test_what_the_loss_is_told():
    """The radius follows its schedule, an epoch sees each sample at most once, a batch is full."""
    seen = []

    def loss(step):
        seen.append((float(step.space.radius), step.share, len(step.x)))
        rows.append(step.x)
        return plain(step)

    rows = []
    train(net(), data(), sp.linf(0.2), loss, epochs=2, batch=32, radius_schedule=RadiusSchedule(0.0, 0.5, soft=False))
    assert [size for _, _, size in seen] == [32] * 8
    assert [share for _, share, _ in seen] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1, 1])
    assert [radius for radius, _, _ in seen] == pytest.approx([0.2 * share for _, share, _ in seen])
    first, second = (torch.cat(part).flatten(1) for part in (rows[:4], rows[4:]))
    assert len(first.unique(dim=0)) == len(data().x[:130].flatten(1).unique(dim=0)) - 2
    assert not torch.equal(first, second)


def test_it_learns():
    module = train(net(), data(400), sp.linf(0.1), plain, epochs=12, batch=32, optimiser=Adam(3e-3))
    test = sp.load("digits", split="test")
    with torch.no_grad():
        assert float((module(test.x).argmax(1) == test.y).double().mean()) > 0.85


def test_long_gradients_are_cut():
    """One step of plain descent moves the weights by the rate times the length that is left."""
    module = net().eval()
    trained = train(module, data(32), sp.linf(0.1), lambda step: 1e6 * plain(step), epochs=1, batch=32, clip=0.5, optimiser=Sgd(1.0, 0.0, 0.0))
    moved = sum(float((one - other).detach().square().sum()) for one, other in zip(trained.parameters(), module.parameters(), strict=True)) ** 0.5
    assert moved == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("folder", [False, True])
def test_a_loss_that_is_not_finite_stops_with_a_sentence(tmp_path, folder):
    def breaking(step):
        return plain(step) * (torch.nan if step.share == 1 else 1.0)

    with pytest.raises(PlanError, match=r"loss became nan in epoch 3, step 1 of 4, at radius 0.1: lower the rate"):
        train(net(), data(), sp.linf(0.1), breaking, epochs=4, batch=32, radius_schedule=RadiusSchedule(0, 0.5), folder=tmp_path if folder else None)
    if folder:
        with safetensors.safe_open(tmp_path / NAME, "pt") as held:
            assert json.loads(held.metadata()["training"])["epoch"] == 2
            assert all(bool(held.get_tensor(name).double().isfinite().all()) for name in held.keys())  # noqa: SIM118


def test_a_gradient_that_is_not_finite_stops_too():
    def steep(step):
        return (step.scores * 0).sqrt().sum()  # 0, with infinite slope

    with pytest.raises(PlanError, match="the gradient became nan in epoch 1, step 1"):
        train(net(), data(), sp.linf(0.1), steep, epochs=1)


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    settings = {"epochs": 1, "batch": 32, "folder": tmp_path}
    train(net(), data(), sp.linf(0.1), plain, **settings)
    for more, word in (({"batch": 64}, "batch was '32', now '64'"), ({"seed": 1}, "seed was"), ({"optimiser": Adam(1.0)}, "optimiser was")):
        with pytest.raises(PlanError, match=word):
            train(net(), data(), sp.linf(0.1), plain, **{**settings, **more})
    with pytest.raises(PlanError, match="threat was"):
        train(net(), data(), sp.linf(0.2), plain, **settings)
    with pytest.raises(PlanError, match="data was"):
        train(net(), data(100), sp.linf(0.1), plain, **settings)
    other = net()
    with torch.no_grad():
        other[0].bias[0] += 1
    with pytest.raises(PlanError, match="weights was"):
        train(other, data(), sp.linf(0.1), plain, **settings)


@pytest.mark.parametrize("spoil", [lambda content: content[:-100], lambda content: b"", lambda content: b"\x80\x04" + content])
def test_a_broken_checkpoint_is_refused(tmp_path, spoil):
    train(net(), data(), sp.linf(0.1), plain, epochs=1, folder=tmp_path)
    file = tmp_path / NAME
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(LoadError, match="not a valid checkpoint"):
        train(net(), data(), sp.linf(0.1), plain, epochs=1, folder=tmp_path)


def test_what_does_not_fit_is_refused_before_the_first_step():
    def never(step):
        raise AssertionError("asked")

    short = copy.deepcopy(net())
    short[5] = nn.Linear(144, 9)
    frozen = net().requires_grad_(False)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(63, 10))
    for module, error, word in ((short, InputError, "labels up to 9"), (frozen, PlanError, "no parameters"), (flat, InputError, "cannot take digits")):
        with pytest.raises(error, match=word):
            train(module, data(), sp.linf(0.1), never)
    for settings in ({"epochs": 0}, {"batch": 0}, {"clip": 0.0}):
        with pytest.raises(PlanError, match="at least 1"):
            train(net(), data(), sp.linf(0.1), never, **settings)
    with pytest.raises(PlanError, match="one radius for all"):
        train(net(), data(), sp.linf(torch.full((130,), 0.1)), never)


def test_mixed_precision_around_it_changes_nothing():
    settings = {"epochs": 1, "batch": 32}
    alone = state(train(net(), data(), sp.linf(0.1), plain, **settings))
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert same(state(train(net(), data(), sp.linf(0.1), plain, **settings)), alone)
