"""Checks of models that answer with values, labels and masks: each fires on the model that is planted for it and is silent on its healthy twin."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sparring.core.registry import everything
from sparring.core.threat import Threat
from sparring.data.dataset import Data
from sparring.diagnosis.doctor import EVERY_TASK, Finding, examine
from sparring.diagnosis.reevaluate import reevaluate
from sparring.domains.image import image
from sparring.models.torch import TorchVictim
from sparring.tasks.labels import Labels
from sparring.tasks.mask import Mask
from sparring.tasks.values import Values
from sparring.threats.balls import Linf
from sparring.threats.goals import Untargeted

SIDE, COUNT = 8, 32
THREAT = Threat(Linf(0.1), Untargeted())
TASKS = {"values": Values(2, 0.5, 1.0), "labels": Labels(3, share=0.6), "mask": Mask(3, share=0.7, size=(SIDE, SIDE))}
CLASSES_ONLY = {"D12", "D13"}


class Then(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def body(kind: str) -> nn.Sequential:
    """A small convolution: two numbers, three logits, or scores of three classes for each pixel."""
    torch.manual_seed(3)
    if kind != "mask":
        return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2 if kind == "values" else 3)).eval()
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1)).eval()


def images() -> Tensor:
    """Smooth images that fill the box."""
    rough = torch.rand(COUNT, 1, 3, 3, generator=torch.Generator().manual_seed(4))
    return nn.functional.interpolate(rough, SIDE, mode="bilinear", align_corners=True)


def scaled(kind: str) -> nn.Sequential:
    """The body, with outputs that are spread as those of a trained model are."""
    net, x = body(kind), images()
    with torch.no_grad():
        last, out = net[-1], net(x)
        axes = [axis for axis in range(out.ndim) if axis != 1]
        mean, spread = out.mean(axes), out.std(axes)
        last.weight /= spread.reshape(-1, *[1] * (last.weight.ndim - 1))
        last.bias.copy_((last.bias - mean) / spread)
    return net


def subject(kind: str, change: Callable[[nn.Sequential], nn.Module] = lambda net: net) -> tuple[TorchVictim, Data]:
    """A model, changed, and data that the model as it was answers rightly."""
    net, x = scaled(kind), images()
    with torch.no_grad():
        truth = TASKS[kind].answer(net(x))
    if kind == "values":
        truth = truth + 0.1
    changed = change(copy.deepcopy(net)).eval()
    return TorchVictim(changed, image(SIDE, SIDE), name="planted", task=TASKS[kind], search="plain"), Data.of(x, truth, image(SIDE, SIDE), task=TASKS[kind])


def findings(kind: str, change: Callable[[nn.Sequential], nn.Module] = lambda net: net, *, deep: bool = False) -> dict[str, Finding]:
    victim, data = subject(kind, change)
    return {one.code: one for one in examine(victim, data, THREAT, deep=deep)}


def before(function: Callable[[Tensor], Tensor]) -> Callable[[nn.Sequential], nn.Module]:
    return lambda net: nn.Sequential(Then(function), net)


def after(function: Callable[[Tensor], Tensor]) -> Callable[[nn.Sequential], nn.Module]:
    return lambda net: nn.Sequential(net, Then(function))


def noisy(size: float) -> Callable[[nn.Sequential], nn.Module]:
    return before(lambda x: x + size * torch.randn_like(x))


@pytest.mark.parametrize("kind", TASKS)
def test_a_healthy_model_is_reliable(kind):
    """All plain checks are in order or do not apply, and those that do not say why."""
    for code, one in findings(kind).items():
        assert one.verdict in ("ok", "not applicable"), f"{code}: {one.finding}"
        if one.verdict == "not applicable":
            assert one.finding.startswith("The check supports classes"), f"{code}: {one.finding}"
    assert [code for code, one in findings(kind).items() if one.verdict == "not applicable"] == (["D2"] if kind == "values" else [])


@pytest.mark.slow
@pytest.mark.parametrize("kind", TASKS)
def test_deep_checks_apply_or_say_why_not(kind):
    """None fails on a healthy model, and only those that read classes are left out for their task."""
    found = findings(kind, deep=True)
    assert [f"{code}: {one.finding}" for code, one in found.items() if one.verdict == "bad"] == []
    unsupported = {code for code, one in found.items() if one.finding.startswith("The check supports")}
    assert unsupported == CLASSES_ONLY | ({"D2", "D25"} if kind == "values" else set())


def test_each_check_reads_every_task_or_declares_what_it_reads():
    kinds = {one.code: one.tasks for one in everything("check").values()}
    assert {code for code, tasks in kinds.items() if tasks == {"classes"}} == CLASSES_ONLY
    assert {code for code, tasks in kinds.items() if tasks not in (EVERY_TASK, {"classes"})} == {"D2", "D25"}


PLANTED: dict[str, tuple[str, Callable[[nn.Sequential], nn.Module], str, str]] = {
    "a random model": ("D1", noisy(2.0), "bad", "32 of 32 answers changed|30 of 32 answers changed"),
    "a model with a little noise": ("D1", noisy(1e-3), "caution", "differ by"),
    "answers that depend on the batch": ("D3", before(lambda x: x - x.mean(0) + 0.5 * (len(x) > 1)), "bad", "of 8 predictions changed"),
    "another scale": ("D4", before(lambda x: x * 255), "bad", "on the inputs divided by 255|no more than"),
    "a stopped gradient": ("D6", before(lambda x: x.detach()), "bad", "The gradient is lost in"),
    "no number": ("D7", after(lambda z: z.where(z < 1, torch.nan)), "bad", "samples have NaN or infinite scores"),
    "steps": ("D8", before(lambda x: x + (x * 0).round() - x + (x * 32).round() / 32), "bad", "The gradient is zero for"),
}


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_found(planted, kind):
    code, change, verdict, said = PLANTED[planted]
    if (planted, kind) == ("another scale", "mask"):
        change = before(lambda x: x / 255)
        said = "no more than|on the inputs multiplied by 255"
    one = findings(kind, change)[code]
    assert one.verdict == verdict, one.finding
    assert any(part in one.finding for part in said.split("|")), one.finding


def test_saturated_scores_of_pixels_and_clipped_values_are_found():
    one = findings("mask", after(lambda z: z * 1000))["D9"]
    assert (one.verdict, "pixels have a probability of exactly 1" in one.finding) == ("bad", True)
    one = findings("values", after(lambda z: z.clamp(-0.3, 0.3)))["D9"]
    assert (one.verdict, "exactly at the end of the range" in one.finding) == ("bad", True)
    assert findings("values", after(lambda z: z.clamp(-0.9, 5)))["D9"].verdict in ("ok", "caution")


def test_saturated_scores_of_labels_are_found():
    one = findings("labels", after(lambda z: z * 1000))["D9"]
    assert (one.verdict, "labels have a probability of exactly 1" in one.finding) == ("bad", True)


@pytest.mark.parametrize("change", [torch.sigmoid, lambda z: z.softmax(1)])
def test_probabilities_of_labels_are_found(change):
    """They need not sum to 1; taken for logits, they put every label into every answer."""
    one = findings("labels", after(change))["D2"]
    assert (one.verdict, "every score above 0 counts as present" in one.finding) == ("bad", True)
    assert "task=labels(probabilities=true)" in one.cure


def test_probabilities_that_are_said_to_be_some_are_in_order():
    net, x = scaled("labels"), images()
    with torch.no_grad():
        truth = TASKS["labels"].answer(net(x))
    task = Labels(3, share=0.6, probabilities=True)
    victim = TorchVictim(nn.Sequential(net, nn.Sigmoid()).eval(), image(SIDE, SIDE), task=task, search="plain")
    assert [one.code for one in examine(victim, Data.of(x, truth, image(SIDE, SIDE), task=task), THREAT) if one.verdict not in ("ok", "not applicable")] == []


def test_probabilities_of_pixels_are_found():
    one = findings("mask", after(lambda z: z.softmax(1)))["D2"]
    assert (one.verdict, "sum to 1" in one.finding) == ("caution", True)


@pytest.mark.parametrize("kind", TASKS)
def test_a_tolerance_that_nobody_said_comes_from_the_samples(kind):
    """A victim whose task does not say when values are wrong is examined all the same."""
    victim, data = subject(kind)
    if kind == "values":
        victim.task = Values(2)
    assert [one.finding for one in examine(victim, data, THREAT) if one.verdict == "bad"] == []


@pytest.mark.parametrize("kind", TASKS)
def test_a_repaired_twin_breaks_what_a_stopped_gradient_leaves(kind):
    """The transfer control: the network without the part that stops the gradient finds what gradients of the deployed model cannot."""
    victim, data = subject(kind, before(lambda x: (x * 256).round().detach() / 256))
    found = {one.code: one for one in examine(victim, data, THREAT, deep=True)}
    assert found["D6"].verdict == "bad"
    assert found["D24"].verdict == "bad", found["D24"].finding
    assert found["D10"].verdict == "bad", found["D10"].finding


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", TASKS)
def test_remedies_break_what_a_stopped_gradient_hides(kind):
    victim, data = subject(kind, before(lambda x: (x * 256).round().detach() / 256))
    look = reevaluate(victim, data, THREAT, samples=16)
    assert look.verdict == "unreliable"
    assert look.claimed.value > 0.9
    assert look.best_known.value < 0.5
