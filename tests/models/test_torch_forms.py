"""Torch modules in the forms that people bring: exported for one batch size, quantised, compiled, scripted, on no device."""

import re
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import sparring as sp
from sparring.core.errors import LoadError
from sparring.models.graph_of import network_of
from sparring.models.load import load_model

DOMAIN = sp.image(3, 8, 8)
X = torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()


def first(scores):
    return scores[:, 0]


@pytest.mark.parametrize("rows", [1, 4])
def test_programs_for_one_batch_size(network, rows, tmp_path):
    """They are asked in pieces of it, also about gradients and behind a normalisation, and from a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, (X[:rows],))
        torch.export.save(program, tmp_path / "net.pt2")
    plain = sp.victim(network, DOMAIN)
    for victim in (sp.victim(program, DOMAIN), load_model(str(tmp_path / "net.pt2"), sp.Data.of(X, plain.label(X), DOMAIN))):
        for count in (1, 3, 7):
            assert torch.allclose(victim.scores(X[:count]), plain.scores(X[:count]), atol=1e-6)
        assert torch.allclose(victim.gradient(X, first).grad, plain.gradient(X, first).grad, atol=1e-6)
        assert torch.allclose(network_of(victim)(X.double()).float(), plain.scores(X), atol=1e-5)
    scaled, expected = sp.victim(program, DOMAIN, scale=2), sp.victim(network, DOMAIN, scale=2)
    assert torch.allclose(scaled.gradient(X, first).grad, expected.gradient(X, first).grad, atol=1e-6)


def test_quantised_modules_are_evaluated(tmp_path):
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Flatten(), nn.Linear(192, 20), nn.ReLU(), nn.Linear(20, 5)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quick = torch.ao.quantization.quantize_dynamic(inner, {nn.Linear}, dtype=torch.qint8)
        other = torch.ao.quantization.quantize_dynamic(nn.Sequential(*(nn.Linear(4, 4) for _ in range(2))), {nn.Linear}, dtype=torch.qint8)
    victim = sp.victim(quick, DOMAIN)
    assert torch.equal(victim.scores(X), quick(X))
    assert victim.fingerprint == sp.victim(quick, DOMAIN).fingerprint != sp.victim(inner, DOMAIN).fingerprint
    assert sp.victim(other, sp.table(["a", "b", "c", "d"])).complete
    run = sp.evaluate(victim, sp.Data.of(X, victim.label(X), DOMAIN), sp.linf(0.3), attacks="square(queries=50)", certify="none", out=tmp_path)
    assert set(run.table()["status"]) <= {"held", "broken"}


def test_weights_on_no_device_are_refused():
    with torch.device("meta"):
        module = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    with pytest.raises(LoadError, match=r"weights on the meta device, which holds no numbers: load them"):
        sp.victim(module, DOMAIN)


def test_of_a_compiled_module_the_original_is_asked(network):
    victim = sp.victim(torch.compile(network), DOMAIN)
    assert victim.module is network
    assert victim.fingerprint == sp.victim(network, DOMAIN).fingerprint


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_modules(network, tmp_path):
    """The object works; a file of one runs code when opened."""
    traced = torch.jit.trace(network, X[:2])
    assert torch.allclose(sp.victim(traced, DOMAIN).scores(X), network(X), atol=1e-6)
    traced.save(tmp_path / "net.pt")
    with pytest.raises(LoadError, match=r"is a TorchScript program, .* torch\.jit\.load in your own package\.module:factory"):
        load_model(str(tmp_path / "net.pt"), sp.Data.of(X, [0] * 7, DOMAIN))


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        (sp.image(8, 8), "it takes 3 channels and gets 1: describe the images"),
        (sp.image(8, 8, 3), "it takes 3 channels and gets 8; if the first axis of the data is the height, put the channels first"),
        (sp.image(3, 9, 9), "one of its linear layers takes 144 numbers and gets 196: the images had another size in training"),
    ],
)
def test_inputs_of_another_shape_are_told_in_words(network, domain, said):
    with pytest.raises(LoadError, match=re.escape(said)):
        sp.victim(network, domain)


def test_columns_and_rows_of_numbers():
    with pytest.raises(LoadError, match="takes 3 numbers and gets 2: give data with as many columns"):
        sp.victim(nn.Linear(3, 2), sp.table(["a", "b"]))
    with pytest.raises(LoadError, match=r"put nn\.Flatten\(\) before it|takes 64 numbers and gets 8"):
        sp.victim(nn.Sequential(nn.Linear(64, 2)), sp.image(8, 8))


def test_a_rounding_beyond_the_bounds_is_no_error():
    above = np.nextafter(np.float32(1), np.float32(2))
    data = sp.Data.of(torch.full((2, 1, 2, 2), float(above)), [0, 1], sp.image(2, 2))
    assert float(data.x.max()) == 1.0
    column = sp.domains.table.Column("share", low=0.1, high=0.3)
    assert sp.Data.of(np.float32([[0.1], [0.3]]), [0, 1], sp.table([column])).x[:, 0].tolist() == [pytest.approx(0.1), 0.3]
    with pytest.raises(sp.errors.SparringError, match="outside"):
        sp.Data.of(np.float32([[0.1], [0.301]]), [0, 1], sp.table([column]))


@pytest.mark.parametrize(
    ("x", "cure"),
    [
        (X * 255, "divide by 255, or describe them with sp.image(channels, height, width, high=255)"),
        (X * 2 - 1, "give the model mean=0.5, std=0.5, or describe them with sp.image(channels, height, width, low=-1)"),
        (X * 7 - 3, "move the normalisation into the model with mean= and std="),
        (X.permute(0, 2, 3, 1), "put the channels first"),
    ],
)
def test_images_in_another_range_get_the_right_cure(x, cure):
    with pytest.raises(sp.errors.SparringError, match=re.escape(cure)):
        sp.Data.of(x, [0] * 7, DOMAIN)


def test_a_module_in_training_mode_is_asked_as_deployed_and_left_alone():
    """Outside a session too: batch statistics decide nothing, and running ones, counters and modes stay."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 4)).train()
    net(X * 3)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    victim = sp.victim(net, DOMAIN)
    scores = victim.scores(X)
    assert torch.allclose(victim.scores(X[:1]), scores[:1], atol=1e-6)
    victim.gradient(X, first)
    victim.label(X)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(part.training for part in net.modules())
    assert torch.allclose(scores, net.eval()(X), atol=1e-6)
