"""Each check fires on the model it is for, says why, and is silent on that model's healthy twin."""

import json
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import _global_optimizer_pre_hooks

from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.diagnosis.doctor import Check, Finding, Opinion, Subject, check, examine, trust
from sparring.domains.image import image
from sparring.domains.table import Column, table
from sparring.domains.text import text
from sparring.models.adapter import victim
from sparring.threats.balls import Linf
from sparring.threats.goals import Untargeted

IMPORTED = torch.autograd.grad
SIDE, CLASSES = 6, 10
THREAT = Threat(Linf(0.1), Untargeted())
KEYS = ["code", "name", "title", "value", "threshold", "verdict", "finding", "cure"]
CODES = [f"D{number}" for number in range(1, 10)]


class Then(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Quantise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * 255).round().detach() / 255


class Cuts(nn.Module):
    """Loses the gradient in its own forward; `hides` keeps the rest out of the list of its modules."""

    def __init__(self, inner: nn.Module, hides: bool):
        super().__init__()
        self.inner = [inner] if hides else nn.ModuleList([inner])
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner[0](x.detach())


class Optimises(nn.Module):
    """Cleans its input by a few steps of gradient descent before it answers."""

    def __init__(self, inner: nn.Module, how: str):
        super().__init__()
        self.inner, self.how = inner, how
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            clean = x.detach().clone().requires_grad_(True)
            energy = self.inner(clean).square().mean()
            if self.how in ("grad", "imported"):
                differentiate = torch.autograd.grad if self.how == "grad" else IMPORTED
                (slope,) = differentiate(energy, clean)
                clean = clean - 1e-3 * slope
            elif self.how == "step":
                energy.backward()
                torch.optim.SGD([clean], lr=1e-3).step()
        return self.inner(x + (clean - x).detach())


def body(classes: int = CLASSES) -> nn.Sequential:
    torch.manual_seed(7)
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 32), nn.ReLU(), nn.Linear(32, classes)).eval()


def behind(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, body()).eval()


def before(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(body(), *layers).eval()


def images(count: int = 64) -> Tensor:
    return (0.9 + 0.05 * torch.randn(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(3))).clamp(0, 1)


MEAN, SPREAD = float(images().mean()), float(images().std())


def normalised(times: int) -> nn.Module:
    return behind(*[Then(lambda x: (x - MEAN) / SPREAD) for _ in range(times)])


def batch_norm(running: bool) -> nn.Module:
    norm = nn.BatchNorm2d(1, affine=False, track_running_stats=running)
    if running:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.fill_(MEAN)
        norm.running_var.fill_(SPREAD**2)
    return behind(norm)


def unset(net: nn.Module) -> nn.Module:
    return net.train()


def named(layer: nn.Module) -> nn.Module:
    net = nn.Sequential()
    net.add_module("stem", nn.Sequential(nn.Conv2d(1, 1, 1)))
    net.add_module("layer2", nn.Sequential())
    net.layer2.add_module("quantise", layer)  # type: ignore[union-attr]
    net.add_module("head", body())
    return net.eval()


def hidden(activation: nn.Module) -> nn.Module:
    net = body()
    net[2] = activation
    return net


def steps(x: Tensor) -> Tensor:
    """Winner takes all, written with its comparison: 1 for the largest five, 0 for the rest."""
    return torch.sign((x - x.topk(5, dim=1).values[:, -1:]).clamp_min(-1e-9) + 1e-9)


def holed(x: Tensor) -> Tensor:
    return torch.cat([x[:3].log().mul(0) / 0, x[3:]])


def overwritten(x: Tensor) -> Tensor:
    """What the backward pass of the sigmoid needs is gone by then."""
    return torch.sigmoid(x).mul_(2)


def jagged(x: Tensor) -> Tensor:
    """Finite, with a gradient that is not: the square root at zero."""
    return x + (x - x.detach()).abs().sqrt() * 1e-9


TABLE = [
    ("D1", lambda: behind(Then(lambda x: x + 0.3 * torch.randn_like(x))), lambda: behind(Then(lambda x: x)), "bad", "answers changed"),
    ("D1", lambda: before(Then(lambda z: z + 1e-3 * torch.randn_like(z))), lambda: body(), "caution", "no prediction changed"),
    ("D2", lambda: before(nn.Softmax(1)), lambda: before(nn.LogSoftmax(1)), "caution", "sum to 1; 0 of 64"),
    ("D2", lambda: before(Then(lambda z: (9e3 * z).softmax(1))), lambda: body(), "bad", "a probability of exactly 1"),
    ("D3", lambda: batch_norm(False), lambda: batch_norm(True), "bad", "evaluated alone"),
    ("D3", lambda: unset(batch_norm(True)), lambda: batch_norm(True), "caution", "was in training mode"),
    ("D4", lambda: normalised(2), lambda: normalised(1), "bad", "one normalisation undone"),
    ("D4", lambda: normalised(0), lambda: normalised(1), "bad", "normalised by mean and deviation"),
    ("D5", lambda: Optimises(body(), "grad"), lambda: Optimises(body(), ""), "bad", "autograd.grad once"),
    ("D5", lambda: Optimises(body(), "imported"), lambda: Optimises(body(), ""), "bad", "called autograd once"),
    ("D5", lambda: Optimises(body(), "step"), lambda: Optimises(body(), ""), "bad", "Tensor.backward once, SGD.step once"),
    ("D6", lambda: named(Quantise()), lambda: named(nn.Identity()), "bad", "lost in layer2.quantise (Quantise)."),
    ("D6", lambda: Cuts(body().requires_grad_(False), True), lambda: Then(body()), "bad", "the model itself (Cuts)"),
    ("D6", lambda: Cuts(body(), True), lambda: Then(body()), "bad", "no single module is responsible"),
    ("D6", lambda: Cuts(named(Quantise()), False), lambda: Then(body()), "bad", "the model itself (Cuts)"),
    ("D6", lambda: behind(Then(overwritten)), lambda: body(), "bad", "modified by an inplace operation"),
    ("D7", lambda: before(Then(holed)), lambda: body(), "bad", "3 of 64 samples have NaN or infinite scores"),
    ("D7", lambda: behind(Then(jagged)), lambda: body(), "bad", "64 have NaN or infinite gradients"),
    ("D8", lambda: hidden(Then(torch.sign)), lambda: hidden(nn.Tanh()), "bad", "64 of 64 under margin"),
    ("D8", lambda: hidden(Then(steps)), lambda: hidden(nn.ReLU()), "bad", "64 of 64 under cross-entropy"),
    ("D8", lambda: before(Then(lambda z: z * 1e5)), lambda: body(), "caution", "0 of 64 under margin"),
    ("D9", lambda: before(Then(lambda z: z * 1000)), lambda: body(), "bad", "gap above 30"),
]


def labelled(healthy: Victim, x: Tensor) -> Data:
    """Data that the healthy twin gets right."""
    with healthy.session():
        return Data.of(x, healthy.label(x), healthy.domain, classes=[str(place) for place in range(healthy.classes)])


def found(findings: list[Finding], code: str) -> Finding:
    return next(one for one in findings if one.code == code)


@pytest.mark.parametrize(("code", "broken", "healthy", "verdict", "words"), TABLE, ids=[f"{row[0]} {row[4]}" for row in TABLE])
def test_fires_on_the_broken_model_alone(code, broken, healthy, verdict, words):
    domain = image(1, SIDE, SIDE)
    twin = victim(healthy().requires_grad_(True), domain)
    data = labelled(twin, images())
    fine = examine(twin, data, THREAT)
    assert {one.code: one.verdict for one in fine} == dict.fromkeys(CODES, "ok"), fine
    assert trust(fine) == "reliable"
    findings = examine(victim(broken(), domain), data, THREAT)
    told = found(findings, code)
    assert (told.verdict, words in told.finding) == (verdict, True), told
    assert told.cure != "Nothing to do."
    assert told.value is not None
    assert told.threshold is not None
    assert trust(findings) != "reliable"


def test_findings_are_plain_json():
    sick = victim(before(Then(holed)), image(1, SIDE, SIDE))
    findings = examine(sick, labelled(victim(body(), image(1, SIDE, SIDE)), images()), THREAT)
    for one in findings:
        assert list(json.loads(json.dumps(one.describe(), allow_nan=False))) == KEYS
        assert one.finding.endswith((".", "?")) or one.verdict == "bad"


@pytest.mark.parametrize("net", [named(Quantise()), Optimises(body(), "step"), batch_norm(True).train(), before(nn.Dropout())])
def test_leaves_everything_as_it_was(net: nn.Module, capsys: pytest.CaptureFixture[str]):
    one = victim(net, image(1, SIDE, SIDE))
    data = labelled(one, images(8))
    weights, modes = {name: value.clone() for name, value in net.state_dict().items()}, [part.training for part in net.modules()]
    patched = torch.autograd.grad, torch.autograd.backward, Tensor.backward
    random, numbers = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"]
    first = examine(one, data, THREAT)
    assert torch.equal(random, torch.get_rng_state())
    assert np.array_equal(numbers, np.random.get_state(legacy=False)["state"]["key"])
    assert (torch.autograd.grad, torch.autograd.backward, Tensor.backward) == patched
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
    assert modes == [part.training for part in net.modules()]
    assert all(part.requires_grad and part.grad is None for part in net.parameters())
    assert not any(part._forward_hooks or part._backward_hooks for part in net.modules())
    assert not nn.modules.module._global_forward_hooks
    assert not _global_optimizer_pre_hooks
    assert capsys.readouterr() == ("", "")
    assert examine(one, data, THREAT) == first


def test_costs_little():
    passes: list[int] = []

    def counted(x: Tensor) -> Tensor:
        passes.append(len(x))
        return x

    one = victim(behind(Then(counted)), image(1, SIDE, SIDE), search="plain")
    data = labelled(one, images(500))
    passes.clear()
    examine(one, data, THREAT, samples=500)
    assert max(passes) == 64
    assert sum(passes) <= 12 * 64 + 16
    assert len(passes) <= 24


def test_active_dropout_is_named():
    class Stubborn(nn.Dropout):
        def train(self, mode: bool = True) -> "Stubborn":
            return super().train(True)

    one = victim(behind(Stubborn(0.5)), image(1, SIDE, SIDE))
    findings = examine(one, labelled(one, images()), THREAT)
    assert "0 (Stubborn) stays in training mode" in found(findings, "D3").finding
    assert found(findings, "D1").verdict == "bad"


def test_two_classes_have_no_dlr():
    one = victim(body(2), image(1, SIDE, SIDE))
    told = found(examine(one, labelled(one, images()), THREAT), "D8")
    assert told.verdict == "ok"
    assert "DLR" not in told.finding


@pytest.mark.parametrize("classes", [2, CLASSES])
def test_one_sample(classes: int):
    one = victim(body(classes), image(1, SIDE, SIDE))
    verdicts = {told.code: told.verdict for told in examine(one, labelled(one, images(1)), THREAT)}
    assert verdicts == {**dict.fromkeys(CODES, "ok"), "D3": "not applicable"}


def test_guessing_is_not_accuracy():
    one = victim(body(), image(1, SIDE, SIDE))
    data = labelled(one, images())
    wrong = Data.of(data.x, (data.y + 1) % CLASSES, data.domain, classes=data.classes)
    told = found(examine(one, wrong, THREAT), "D4")
    assert told.verdict == "bad"
    assert "no better than guessing among 10 classes" in told.finding


def test_inputs_outside_the_domain():
    one = victim(body(), image(1, SIDE, SIDE))
    far = torch.cat([images(60), images(4) * 255])
    data = Data.of(far, torch.zeros(64).long(), image(1, SIDE, SIDE, high=255))
    told = found(examine(one, data, THREAT), "D4")
    assert told.verdict == "bad"
    assert "4 of 64 inputs lie outside" in told.finding


def test_gradients_do_not_matter_to_who_sees_labels_only():
    one = victim(hidden(Then(torch.sign)), image(1, SIDE, SIDE))
    findings = examine(one, labelled(one, images()), THREAT.seeing("labels"))
    silent = {told.code for told in findings if told.verdict == "not applicable"}
    assert silent == {"D2", "D6", "D8", "D9"}
    assert trust(findings) == "reliable"
    assert "the threat grants labels only" in found(findings, "D8").finding


def test_scores_count_without_gradients():
    data = labelled(victim(body(), image(1, SIDE, SIDE)), images())
    told = found(examine(victim(before(Then(holed)), image(1, SIDE, SIDE)), data, THREAT.seeing("scores")), "D7")
    assert told.verdict == "bad"
    assert told.value == 3


def test_a_broken_graph_is_told_once():
    one = victim(named(Quantise()), image(1, SIDE, SIDE))
    findings = examine(one, labelled(one, images()), THREAT)
    assert [told.code for told in findings if told.verdict != "ok"] == ["D6", "D8"]
    assert found(findings, "D8").verdict == "not applicable"


def test_text_with_labels_only():
    words = [["good film", "bad film"][place % 2] + "!" * place for place in range(20)]
    one = victim(lambda x: np.array([int("good" in line) for line in x]), text(), classes=2, labels_only=True)
    data = Data.of(words, [1, 0] * 10, text())
    findings = examine(one, data, THREAT)
    verdicts = {told.code: told.verdict for told in findings}
    assert verdicts == {**dict.fromkeys(CODES, "ok"), **dict.fromkeys(["D2", "D6", "D8", "D9"], "not applicable")}, findings
    rolled = np.random.default_rng(0)
    moody = victim(lambda x: rolled.integers(0, 2, len(x)), text(), classes=2, labels_only=True, fingerprint="moody")
    findings = examine(moody, data, THREAT)
    assert (found(findings, "D1").verdict, found(findings, "D3").verdict) == ("bad", "not applicable")


def test_probabilities_of_an_estimator_are_expected():
    trees = pytest.importorskip("sklearn.ensemble")
    numbers = np.random.default_rng(0).normal(size=(80, 4)).clip(-3, 3)
    y = (numbers[:, 0] > 0).astype(int)
    domain = table([Column(name, low=-3.0, high=3.0) for name in "abcd"])
    one = victim(trees.RandomForestClassifier(10, random_state=0).fit(numbers, y), domain)
    findings = examine(one, Data.of(numbers, y, domain), THREAT)
    assert "as expected" in found(findings, "D2").finding
    assert trust(findings) == "reliable"


def test_a_check_that_fails_is_a_bad_finding():
    def stumble(subject: Subject) -> Opinion:
        raise ValueError("tripped over the carpet")

    failing = Check("stumble", "D0", "Stumbles", frozenset({"labels"}), stumble)
    one = victim(body(), image(1, SIDE, SIDE))
    told = failing.examine(Subject(one, images(), torch.zeros(64).long(), THREAT))
    assert told.verdict == "bad"
    assert "ValueError: tripped over the carpet" in told.finding


def test_two_checks_of_one_name_are_refused():
    import sparring.diagnosis.checks.saturation  # noqa: F401

    with pytest.raises(ValueError, match="saturation"):

        @check(code="D0", title="Another", needs={"labels"})
        def saturation(subject: Subject) -> Opinion:
            return Opinion("ok", "Nothing.")


def test_importing_the_judge_imports_no_check():
    code = "import sys, sparring.judge, sparring.diagnosis.doctor; print([name for name in sys.modules if 'diagnosis.checks.' in name])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
