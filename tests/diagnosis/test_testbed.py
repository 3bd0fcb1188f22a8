"""Doubt: each deep check fires on a defence it is for, sound networks pass all of them, and remedies find what a claim hid."""

import functools
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support import ARENAS
from torch import Tensor, nn

import sparring as sp
from sparring.attacks.losses import margin
from sparring.core.errors import LoadError, PlanError, UnknownName
from sparring.core.registry import everything
from sparring.core.threat import Threat
from sparring.data.dataset import Data
from sparring.diagnosis.doctor import Finding, Subject, examine
from sparring.diagnosis.probe import ProbeResult, attempt
from sparring.diagnosis.reevaluate import Reevaluation, reevaluate
from sparring.diagnosis.suspects import suspects
from sparring.diagnosis.variants import inner_networks
from sparring.domains.image import image
from sparring.models.adapter import victim
from sparring.models.load import load_model
from sparring.threats.balls import Linf
from sparring.threats.goals import Untargeted

HERE = Path(__file__).parent


def _beside(name: str, path: Path):
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bed = _beside("defences", HERE / "defences.py")
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
DEEP = ["D10", "D11", "D12", "D13", *(f"D{number}" for number in range(15, 27))]

FIRES = {
    "temperature": {"D8", "D9", "D25"},
    "quantised input": {"D8", "D10", "D22", "D23", "D24", "D26"},
    "winners take all": {"D15", "D24", "D26"},
    "random noise": {"D1", "D21", "D26"},
    "random resize": {"D1", "D19", "D21", "D26"},
    "gradient killer": {"D6", "D10", "D20", "D22", "D23", "D24", "D26"},
    "jpeg": {"D8", "D12", "D20", "D22", "D23", "D24", "D26"},
    "thermometer": {"D6", "D10", "D12", "D20", "D22", "D23", "D24", "D26"},
    "jumping activation": {"D10", "D11", "D12", "D18", "D22", "D24", "D26"},
    "batch statistics": {"D3"},
    "detector": set(),  # attacks climb the loss of its goal, so it fools none of them
    "vote": {"D6", "D20", "D22", "D24"},
    "smoothed logits": {"D10", "D24"},
    "lopsided logits": {"D13", "D17", "D25"},
    "dripping gradient": {"D10", "D11", "D17", "D22", "D26"},
    "stairs": {"D10", "D11", "D12", "D18", "D22", "D24", "D26"},
}
"""What must fire on each defence; more may."""


def alarms(findings: list[Finding] | tuple[Finding, ...]) -> set[str]:
    return {one.code for one in findings if one.verdict in ("bad", "caution")}


@functools.cache
def looked(name: str) -> Reevaluation:
    one = bed.DEFENCES[name]
    return reevaluate(one.victim(), bed.digits().take(bed.SAMPLES), one.threat())


@functools.cache
def undefended(name: str) -> Reevaluation:
    """The twin of most defences is one network."""
    one = bed.DEFENCES[name]
    first = next(other for other in bed.DEFENCES.values() if other.twin is one.twin)
    return looked_plainly(first.name)


@functools.cache
def looked_plainly(name: str) -> Reevaluation:
    return reevaluate(bed.DEFENCES[name].undefended(), bed.digits().take(bed.SAMPLES), Threat(Linf(bed.RADIUS), Untargeted()))


# The matrix --------------------------------------------------------------------------------------------------------------


def test_every_deep_check_has_a_cost_and_no_plain_check_has():
    checks = {one.code: one.cost for one in everything("check").values()}
    assert sorted(code for code, cost in checks.items() if cost) == sorted(DEEP)


def test_each_deep_check_has_a_defence_of_its_own():
    covered = set().union(*FIRES.values())
    assert set(FIRES) == set(bed.DEFENCES)
    assert not set(DEEP) - covered - {"D16"}  # D16 has a test of its own below


@pytest.mark.parametrize("name", ["zoo:digits-plain", "zoo:digits-robust"])
def test_sound_networks_pass_all_checks(name):
    findings = examine(load_model(name), bed.digits().take(32), Threat(Linf(0.15), Untargeted()), deep=True)
    assert not alarms(findings), [one for one in findings if one.code in alarms(findings)]
    assert [one.code for one in findings][-len(DEEP) :] == DEEP


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FIRES))
def test_checks_fire_on_their_defence(name):
    assert FIRES[name] <= set(looked(name).fired), looked(name).fired


@pytest.mark.slow
@pytest.mark.parametrize("name", ["temperature", "random noise", "random resize", "vote", "batch statistics"])
def test_checks_are_silent_on_undefended_twins(name):
    """No check fires. Other losses may break a few samples more than the cross-entropy of the claim, which is a caution and no more."""
    seen = undefended(name)
    assert not seen.fired
    assert seen.verdict in ("reliable", "caution")
    assert seen.claimed.value - seen.best_known.value < 0.07


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", ["trades", "wong"])
def test_checks_are_silent_on_published_networks(name):
    if not (SHARED / "images" / "mnist.npz").exists():
        pytest.skip("the shared data is not beside the checkout: MNIST and its networks are not checked")
    networks = _beside("networks", HERE.parents[1] / "benchmarks" / "networks.py")
    with np.load(SHARED / "images" / "mnist.npz") as images:
        x, y = torch.from_numpy(images["x_test"][:64]).float().div(255)[:, None], torch.from_numpy(images["y_test"][:64]).long()
    model = victim(networks.load(name), image(28, 28))
    findings = examine(model, Data.of(x, y, model.domain), Threat(Linf(0.3), Untargeted()), deep=True)
    assert not alarms(findings), [one for one in findings if one.code in alarms(findings)]


# Remedies ----------------------------------------------------------------------------------------------------------------

STRONGER = {"random resize"}
"""Its randomness is worth something against these attacks: see docs/self-check.md."""


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FIRES))
def test_remedies_bring_a_defence_down_to_its_twin(name):
    here, twin = looked(name), undefended(name)
    assert here.best_known.value <= here.claimed.value
    if name == "detector":
        assert here.claimed.value <= twin.claimed.value + 0.03
    else:
        assert here.verdict == ("caution" if name == "batch statistics" else "unreliable")
    if name not in STRONGER:
        assert here.best_known.value <= twin.best_known.value + 0.03


@pytest.mark.slow
def test_a_reevaluation_finds_what_the_claim_hid():
    """Saturated logits: cross-entropy alone fails, and another loss brings the accuracy down."""
    one = bed.DEFENCES["temperature"]
    look = sp.reevaluate(one.victim(), bed.digits().take(16), one.threat())
    assert look.claimed.value > 0.8
    assert look.best_known.value < 0.4
    assert {"D9", "D25"} <= set(look.fired)
    assert look.verdict == "unreliable"
    assert look.remedies[0].newly_broken > 0
    assert look.remedies[0].accuracy == look.best_known.value or look.remedies[-1].accuracy == look.best_known.value
    assert [one.accuracy for one in look.remedies] == sorted((one.accuracy for one in look.remedies), reverse=True)
    assert json.loads(json.dumps(look.describe()))["verdict"] == "unreliable"
    assert "best known" in str(look)


@pytest.mark.slow
def test_deep_checks_repeat_to_the_last_bit():
    one = bed.DEFENCES["gradient killer"]
    first, again = (examine(one.victim(), bed.digits().take(12), one.threat(), deep=True) for _ in range(2))
    assert first == again
    assert {"D6", "D22"} <= alarms(first)


def test_deep_checks_are_made_on_demand_or_after_a_failed_check():
    data, threat = bed.digits().take(8), Threat(Linf(0.1), Untargeted())
    sound, doubtful = load_model("zoo:digits-robust"), bed.DEFENCES["gradient killer"].victim()
    assert len(examine(sound, data, threat)) == len(examine(sound, data, threat, deep=None)) == 9
    assert len(examine(doubtful, data, threat)) == 9
    assert len(examine(doubtful, data, threat, deep=None)) == 9 + len(DEEP)
    with pytest.raises(PlanError, match="need a threat"):
        sp.doctor(sound, data, deep=True)


def test_silent_success_cannot_happen():
    """D14: whatever the last iterate is, an iterate that broke a sample is what the problem returns."""
    data, model = bed.digits().take(24), victim(bed.base(), image(1, 8, 8))
    with model.session():
        subject = Subject(model, data.x, data.y, Threat(Linf(bed.RADIUS), Untargeted()))
        tried = attempt(subject, 'pgd(steps=15, loss="ce", step_size=0.9)')
        assert bool(tried.alone.any())
        assert torch.equal(tried.alone, tried.broken)


@pytest.mark.parametrize(("more", "verdict"), [(0, "ok"), (2, "ok"), (3, "caution"), (-5, "ok")])
def test_doubling_steps_notices_steps_that_are_too_few(monkeypatch: pytest.MonkeyPatch, more: int, verdict: str):
    """D16: three samples more of forty are no chance."""
    import sparring.diagnosis.checks.doubling_steps as place

    def told(subject: Subject, attack: str) -> ProbeResult:
        broken = torch.arange(40) < 10 + (more if "steps=40" in attack else 0)
        return ProbeResult(broken, subject.x, broken, 0, 0)

    monkeypatch.setattr(place, "attempt", told)
    model = victim(bed.base(), image(1, 8, 8))
    with model.session():
        opinion = place.doubling_steps.look(_subject(model))
    assert (opinion.verdict, opinion.value) == (verdict, more / 40)


def _subject(model):
    data = bed.digits().take(64)
    return Subject(model, data.x, data.y, Threat(Linf(bed.RADIUS), Untargeted()))


def test_a_model_that_fails_where_it_is_differentiated_is_reevaluated():
    """What the backward pass needs is overwritten: every gradient attack fails, and query attacks are left."""

    class Overwrites(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return torch.sigmoid(z).mul_(2)

    model = victim(nn.Sequential(bed.base(), Overwrites()).eval(), image(1, 8, 8))
    look = reevaluate(model, bed.digits().take(4), Threat(Linf(0.15), Untargeted()))
    assert look.claimed.value == look.clean.value
    assert look.best_known.value < look.claimed.value
    assert (look.verdict, "D6" in look.fired) == ("unreliable", True)
    assert any("failed: RuntimeError" in said for said in look.remedies[0].tried)


# Suspects ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "named"),
    [
        (lambda: bed.behind(bed.Quantise()), [("0", "zero")]),
        (lambda: bed.behind(bed.GradientKiller()), [("0", "cuts")]),
        (lambda: bed.behind(bed.Stairs()), [("0", "jumps")]),
        (lambda: bed.behind(bed.Noise()), [("0", "random")]),
        (lambda: bed.without(bed.base(), nn.ReLU, bed.Jump), [("1", "jumps"), ("4", "jumps")]),
        (lambda: bed.base(), []),
    ],
)
def test_suspicious_parts_are_named(net, named):
    model = victim(net(), image(1, 8, 8))
    with model.session():
        assert [(one.name, one.why) for one in suspects(_subject(model))] == named


def test_ties_and_kinks_are_not_suspicious():
    """Black images put ReLU and max-pooling on their kinks, where a step says something else than the gradient."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 3)).eval()
    model = victim(net, image(1, 8, 8))
    x = torch.zeros(16, 1, 8, 8)
    x[:, :, 2:4, 2:4] = torch.rand(16, 1, 2, 2)
    with model.session():
        assert suspects(Subject(model, x, torch.zeros(16).long(), Threat(Linf(0.1), Untargeted()))) == []


def test_classifiers_inside_a_vote_are_found():
    model = victim(bed.Vote(bed.base(), bed.base()).eval(), image(1, 8, 8))
    with model.session():
        assert [name for name, _ in inner_networks(_subject(model))] == ["members.0"]


# BPDA --------------------------------------------------------------------------------------------------------------------


def climb_margin(model, x: Tensor, y: Tensor):
    criterion = Untargeted().freeze(y, model.task, None)  # type: ignore[arg-type]
    return model.gradient(x, lambda scores: margin(scores, criterion))


def test_bpda_asks_the_model_as_it_is_and_lends_its_gradient():
    data, net = bed.digits().take(8), bed.behind(bed.Quantise())
    plain, through = victim(net, image(1, 8, 8), search="plain"), sp.bpda(victim(net, image(1, 8, 8)), "0")
    before = [len(part._forward_hooks) for part in net.modules()]
    with through.session():
        assert torch.equal(through.scores(data.x), plain.scores(data.x))
        assert torch.equal(climb_margin(through, data.x, data.y).scores, plain.scores(data.x))
        rounded = net[0](data.x)
        expected = climb_margin(victim(bed.base(), image(1, 8, 8), search="plain"), rounded, data.y).grad
        assert torch.allclose(climb_margin(through, data.x, data.y).grad, expected, atol=1e-6)
        assert not climb_margin(plain, data.x, data.y).grad.any()
    assert before == [len(part._forward_hooks) for part in net.modules()]


def test_bpda_takes_any_differentiable_function():
    data, net = bed.digits().take(4), bed.behind(bed.GradientKiller())
    with sp.bpda(victim(net, image(1, 8, 8)), "0", lambda x: 3 * x).session():
        once, three = (climb_margin(sp.bpda(victim(net, image(1, 8, 8)), "0", way), data.x, data.y).grad for way in ("identity", lambda x: 3 * x))
    assert torch.allclose(three, 3 * once, atol=1e-5)


def test_bpda_by_secants_where_the_shape_changes():
    """A thermometer code gives ten channels for one: the slope of each is that of a tenth of the range."""
    code = bed.Thermometer()
    net = nn.Sequential(code, nn.Flatten(), nn.Linear(640, 3)).eval()
    through, x = sp.bpda(victim(net, image(1, 8, 8)), "0"), bed.digits().take(6).x
    with through.session():
        graded = climb_margin(through, x, torch.zeros(6).long())
        assert torch.equal(graded.scores, net(x).detach())
    assert graded.grad.flatten(1).abs().sum(1).min() > 0


def test_bpda_says_what_it_cannot_do():
    model = load_model("zoo:digits-plain")
    with pytest.raises(UnknownName, match="part of the module"):
        sp.bpda(model, "layers.77")
    with pytest.raises(PlanError, match="backward"):
        sp.bpda(model, "layers.1", "identty")  # type: ignore[arg-type]
    with pytest.raises(LoadError, match=r"write eot\(bpda"):
        sp.bpda(sp.eot(model), "layers.1")
    wrong = sp.bpda(model, "layers.3")
    with wrong.session(), pytest.raises(LoadError, match="identity does not fit"):
        climb_margin(wrong, bed.digits().take(2).x, torch.zeros(2).long())


# EOT ---------------------------------------------------------------------------------------------------------------------


class Coin(nn.Module):
    """Adds a coin's toss, one for each sample, to the score of class 1."""

    def __init__(self, chance: float):
        super().__init__()
        self.chance = chance

    def forward(self, x: Tensor) -> Tensor:
        tossed = (torch.rand(len(x)) < self.chance).to(x)
        first = x.flatten(1).sum(1)
        return torch.stack([first, first * 0 + tossed * 10, first * 0 - 5], 1)


def test_eot_means_votes_and_counts():
    model = sp.eot(victim(Coin(0.7), image(1, 2, 2)), draws=200)
    x = torch.zeros(3, 1, 2, 2)
    with model.session():
        model.passes.forwards = 0
        vote = model.vote(x)
        assert model.passes.forwards == 3 * 200
        assert vote.label.tolist() == [1, 1, 1]
        assert torch.all((vote.low < 0.7) & (vote.high > 0.7) & (vote.low < vote.share) & (vote.share < vote.high))
        assert torch.allclose(model.scores(x)[:, 1], torch.full((3,), 7.0), atol=1.2)
        assert model.decide(x, torch.tensor([[9.0, 0, 0]] * 3)).tolist() == [1, 1, 1]
        graded = model.gradient(x, lambda scores: scores[:, 0])
        assert torch.allclose(graded.grad, torch.ones_like(x))
        assert (model.passes.forwards, model.passes.backwards) == (3 * 200 * 4, 3 * 200)


def test_eot_of_a_fixed_model_is_the_model():
    data, model = bed.digits().take(8), load_model("zoo:digits-plain", settings={"search": "plain"})
    many = sp.eot(model, draws=3)
    with model.session():
        assert torch.allclose(many.scores(data.x), model.scores(data.x), atol=1e-5)
        assert torch.allclose(climb_margin(many, data.x, data.y).grad, climb_margin(model, data.x, data.y).grad, atol=1e-5)
        assert torch.equal(many.label(data.x), model.label(data.x))
    assert many.fingerprint != model.fingerprint
    assert many.describe()["draws"] == 3
    with pytest.raises(PlanError, match="at least 1"):
        sp.eot(model, draws=0)


def test_a_lucky_draw_is_no_success():
    """A coin that shows tails one time in ten breaks single draws, and no majority."""
    luck, x, y = victim(Coin(0.9), image(1, 2, 2)), torch.zeros(16, 1, 2, 2), torch.ones(16).long()
    with luck.session():
        points = [sp.attacks.noise(one, x, y, sp.linf(0.01), tries=20) for one in (luck, sp.eot(luck, draws=25))]
    assert bool((points[0] != x).any())
    assert sp.eot(luck, draws=25).exact is False
    with luck.session():
        assert sp.eot(luck, draws=25).label(points[1]).tolist() == y.tolist()


# Anywhere ----------------------------------------------------------------------------------------------------------------


@pytest.mark.few(8)
@pytest.mark.parametrize("name", ARENAS.attacked())
def test_deep_checks_can_be_made_or_say_why_not(name):
    """On every space, goal and access: tables without bounds, two classes, a radius per sample, text."""
    arena = ARENAS[name]
    checks = [one for one in everything("check").values() if one.deep]
    with arena.victim.session():
        subject = Subject(arena.victim, arena.x, arena.y, arena.threat)
        found = [one.examine(subject) for one in checks]
    assert not [one for one in found if "could not be carried out" in one.finding]
    if "gradients" not in arena.victim.exposes & arena.threat.grants:
        assert {one.verdict for one in found} == {"not applicable"}
