"""The task mask: answers, criterion, quality and packing, with values worked out by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import sparring as sp
from sparring.attacks.evasion.gradient.segpgd import weighted
from sparring.attacks.losses import loss_of
from sparring.core.errors import InputError, LoadError, NeedsError, RecordError
from sparring.core.registry import everything, find
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.models.adapter import victim
from sparring.tasks.mask import Mask, mask
from sparring.threats.balls import Linf
from sparring.threats.erase import Erase
from sparring.threats.goals import Untargeted

TRUTH = torch.tensor([[[0, 1, 1], [2, 2, 255]], [[0, 0, 0], [-1, -1, 1]]])
"""Five and four pixels that count."""


def scores_of(labels: torch.Tensor, classes: int, height: float = 1.0) -> torch.Tensor:
    """One-hot scores of a mask."""
    return nn.functional.one_hot(labels.clamp_min(0), classes).movedim(-1, 1).double() * height


@pytest.fixture
def task() -> Mask:
    return mask(3, size=(2, 3))


@pytest.fixture
def truth(task) -> torch.Tensor:
    return task.check(TRUTH, 2)


def test_pixels_to_ignore_are_void_in_either_spelling(truth):
    assert truth.tolist() == [[[0, 1, 1], [2, 2, -1]], [[0, 0, 0], [-1, -1, 1]]]


def test_quality_leaves_out_absent_classes(task, truth):
    """First: class 0 has 1 of 2, class 1 has 1 of 2, class 2 has 2 of 2. Second: class 0 has 3 of 3, class 1 none of 1, class 2 none of 1."""
    answer = torch.tensor([[[0, 1, 0], [2, 2, 0]], [[0, 0, 0], [0, 1, 2]]])
    assert task.quality(answer, truth).tolist() == pytest.approx([(1 / 2 + 1 / 2 + 1) / 3, (1 + 0 + 0) / 3])


def test_quality_is_one_for_the_truth_and_nought_without_answer(task, truth):
    assert task.quality(truth.clamp_min(0), truth).tolist() == [1.0, 1.0]
    assert task.quality(task.no_answer(truth), truth).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("share", "least"), [(0.5, (3, 2)), (0.6, (3, 3)), (0.61, (4, 3)), (1.0, (5, 4)), (0.01, (1, 1))])
def test_wrong_is_less_than_the_share(share, least, truth):
    """Of 5 and of 4 pixels, so many must be right; one fewer is wrong."""
    criterion = mask(3, share=share, size=(2, 3)).wrong(truth)
    for row, needed in enumerate(least):
        places = (truth[row] >= 0).nonzero()
        for right in range(len(places) + 1):
            answer = truth.clamp_min(0).clone()
            for place in places[right:]:
                answer[row][tuple(place)] = (truth[row][tuple(place)] + 1) % 3
            assert bool(criterion.met(answer)[row]) == (right < needed)
            assert bool(criterion.loss(scores_of(answer, 3))[row] > 0) == (right < needed)


def test_the_loss_is_the_gap_that_decides():
    """Gaps 4, 3, 2, 1 of four pixels: with half of them to be right, three have to fall, so the gap 3 decides."""
    scores = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    scores[0, 0] = torch.tensor([[1.0, 4.0], [3.0, 2.0]])
    scores.requires_grad_(True)
    criterion = mask(2, size=(2, 2)).wrong(torch.zeros(1, 2, 2, dtype=torch.int64))
    loss = criterion.loss(scores)
    assert loss.tolist() == [-3.0]
    (slope,) = torch.autograd.grad(loss.sum(), scores)
    assert slope[0, 0].tolist() == pytest.approx(np.array([[-1 / 3, 0], [-1 / 3, -1 / 3]]))


def test_the_loss_past_the_goal_moves_the_pixels_that_would_come_back():
    """Gaps 4, -1, -2, -3: the goal is met by 1, and only the pixel at -1 lies between the boundary and the one that decides."""
    scores = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    scores[0, 0] = torch.tensor([[4.0, -1.0], [-2.0, -3.0]])
    scores.requires_grad_(True)
    loss = mask(2, size=(2, 2)).wrong(torch.zeros(1, 2, 2, dtype=torch.int64)).loss(scores)
    assert loss.tolist() == [1.0]
    (slope,) = torch.autograd.grad(loss.sum(), scores)
    assert slope[0, 0].tolist() == [[0.0, -1.0], [0.0, 0.0]]


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_loss_and_met_agree(classes):
    """On random scores the loss is positive exactly where the answer meets the goal."""
    rng = torch.Generator().manual_seed(classes)
    task = mask(classes, share=0.4, size=(5, 4))
    scores = torch.randn(200, classes, 5, 4, generator=rng, dtype=torch.float64)
    truth = task.check(torch.randint(-1, classes, (200, 5, 4), generator=rng), 200)
    criterion = task.wrong(truth)
    met = criterion.met(task.answer(scores))
    assert bool((met == (criterion.loss(scores) > 0)).all())
    assert 0 < int(met.sum()) < 200


MASKED = [name for name in everything("loss") if find("loss", name).fits(type(mask(2).wrong(torch.zeros(1, 1, 1, dtype=torch.int64))))]


def test_losses_of_masks_are_found():
    assert {"ce", "dlr", "margin", "mifpe", "pixel_margin", "pm"} <= set(MASKED)


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("classes", [2, 4])
def test_a_loss_grows_toward_the_goal(name, classes):
    """Lowering the score of the true class on all pixels raises every loss, and its gradient says so."""
    rng = torch.Generator().manual_seed(classes)
    task = mask(classes, size=(4, 4))
    truth = torch.randint(0, classes, (20, 4, 4), generator=rng)
    scores = torch.randn(20, classes, 4, 4, generator=rng, dtype=torch.float64) + scores_of(truth, classes, 2.0)
    lowered = (scores - 0.05 * scores_of(truth, classes)).requires_grad_(True)
    criterion = task.wrong(truth)
    loss = loss_of(name)(lowered, criterion)
    assert bool((loss > loss_of(name)(scores, criterion)).all())
    (slope,) = torch.autograd.grad(loss.sum(), lowered)
    assert bool(((slope * scores_of(truth, classes)).flatten(1).sum(1) < 0).all())


@pytest.mark.parametrize("name", [one for one in MASKED if one != "margin"])
def test_a_pixel_loss_never_falls_where_a_pixel_falls(name):
    """Along a straight way on which one pixel after the other flips, the loss only rises; pixels that have fallen have no gradient."""
    task = mask(3, size=(1, 4))
    truth = torch.zeros(1, 1, 4, dtype=torch.int64)
    criterion = task.wrong(truth)
    values = []
    for shift in np.linspace(0, 5, 101):
        scores = torch.zeros(1, 3, 1, 4, dtype=torch.float64)
        scores[0, 0, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0]) - shift
        scores[0, 2] = -0.5
        scores.requires_grad_(True)
        loss = loss_of(name)(scores, criterion)
        (slope,) = torch.autograd.grad(loss.sum(), scores, allow_unused=True) if loss.requires_grad else (torch.zeros_like(scores),)
        slope = torch.zeros_like(scores) if slope is None else slope
        fallen = scores[0, 0, 0] <= 0
        assert float(slope[:, :, 0, fallen].abs().sum()) == 0.0
        values.append(float(loss.detach()))
    assert all(b >= a - 1e-12 for a, b in zip(values, values[1:], strict=False))


@pytest.mark.parametrize("classes", [2, 3, 200, 400])
def test_packing_brings_every_mask_back(classes):
    rng = torch.Generator().manual_seed(classes)
    masks = torch.randint(0, classes, (4, 7, 5), generator=rng)
    masks[1, 2] = -1
    masks[2] = -1
    task = mask(classes, ignore=-1, size=(7, 5))
    packed = task.pack(masks)
    assert packed[2] == ""
    assert torch.equal(task.unpack(packed), masks)


def test_packing_is_small():
    """A disc in 128 x 128 pixels takes less than a tenth of its bits."""
    place = torch.arange(128.0) - 64
    disc = ((place[:, None] ** 2 + place[None] ** 2) < 40**2).long()[None]
    (packed,) = mask(2, size=(128, 128)).pack(disc)
    assert len(packed) < 128 * 128 / 8 / 3


@pytest.mark.parametrize(
    "forged",
    ["nonsense", "2x2 1", "2x2 8 AAAA", "99999x99999 1 eJwDAAAAAAE=", "0x0 1 ", "2x2 1 eJwDAAAAAAE=", "100x100 8 eJztwQENAAAAwqD3T20PBxQAAPBtC7gAAQ=="],
)
def test_forged_strings_are_refused(forged):
    with pytest.raises(RecordError, match="packed mask"):
        mask(2).unpack([forged])


def test_restore_brings_the_task_back():
    for task in (mask(), mask(3, share=0.25, ignore=-1, names=("a", "b", "c"), size=(4, 5))):
        assert Mask.restore(task.describe()) == task


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"count": 1}, "at least 2"),
        ({"count": True}, "at least 2"),
        ({"count": 3, "share": 0}, "share=0"),
        ({"count": 3, "share": 1.5}, "share=1.5"),
        ({"count": 300}, "ignore=255 is one of the classes"),
        ({"count": 3, "names": ["a", "b"]}, "2 names"),
        ({"ignore": "x"}, "ignore='x'"),
    ],
)
def test_settings_are_checked(settings, words):
    with pytest.raises(InputError, match=words):
        mask(**settings)


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        (np.zeros((2, 5)), r"\[2, height, width\]"),
        (np.zeros((2, 3, 4, 5)), "not one-hot"),
        (np.zeros((3, 4, 5)), "3 masks for 2 samples"),
        (np.zeros((2, 6, 6)), "masks are 6 x 6, but the model answers 4 x 5"),
        (np.full((2, 4, 5), 0.5), "whole numbers"),
        (np.full((2, 4, 5), 7), r"values in \[7, 7\] but the classes are 0 to 2"),
        (np.full((2, 4, 5), -3), "-3"),
        (np.full((2, 4, 5), 255), "no pixel that counts"),
        ("abc", "not numbers|masks have shape"),
    ],
)
def test_a_wrong_truth_is_refused(truth, words):
    with pytest.raises(InputError, match=words):
        mask(3, size=(4, 5)).check(truth, 2)


# Models -----------------------------------------------------------------------------------------------------------------


class Threshold(nn.Module):
    """Scores x - 0.5 and 0.5 - x per pixel, so class 0 where x is above 0.5; `form` says how they are given."""

    def __init__(self, form: str = "plain"):
        super().__init__()
        self.form = form

    def forward(self, x):
        scores = torch.cat([x - 0.5, 0.5 - x], 1)
        return {
            "plain": scores, "out": {"out": scores, "aux": scores[:, :1]}, "one": 0.5 - x, "flat": (0.5 - x)[:, 0], "small": scores[..., ::2, ::2],
            "other": {"masks": scores, "edges": scores}, "argmax": scores.argmax(1), "pooled": scores.mean((2, 3)), "three": scores.repeat(1, 2, 1, 1)[:, :3],
        }[self.form]  # fmt: skip


X = torch.tensor([[[[0.55, 0.62], [0.74, 0.90]]], [[[0.45, 0.30], [0.20, 0.70]]]])
Y = torch.tensor([[[0, 0], [0, 0]], [[1, 1], [1, 0]]])


@pytest.mark.parametrize("form", ["plain", "out", "one", "flat"])
def test_a_torch_module_answers_masks(form):
    """A dictionary under "out" and a single logit are understood."""
    asked = victim(Threshold(form), Image((1, 2, 2)), task=mask(2))
    assert asked.task == mask(2, size=(2, 2))
    with asked.session():
        assert torch.equal(asked.answer(X), Y)


@pytest.mark.parametrize(
    ("form", "task", "words"),
    [
        ("other", mask(2), "several outputs that may hold scores, 'masks'"),
        ("argmax", mask(2), "give the logits and not their argmax"),
        ("pooled", mask(2), r"\(2, 2\): scores must be floating point \[n, classes, height, width\]"),
        ("three", mask(2), "3 scores per pixel, but the task has 2 classes"),
        ("small", mask(2, size=(2, 2)), "masks of 1 x 1, but the task has 2 x 2: scale the scores inside the model"),
    ],
)
def test_a_wrong_output_is_refused(form, task, words):
    with pytest.raises(LoadError, match=words):
        victim(Threshold(form), Image((1, 2, 2)), task=task)


def test_a_callable_answers_masks():
    asked = victim(lambda x: np.concatenate([x - 0.5, 0.5 - x], 1), Image((1, 2, 2)), task=mask(2, size=(2, 2)), fingerprint="threshold")
    with asked.session():
        assert torch.equal(asked.answer(X), Y)


def test_a_callable_needs_the_size():
    with pytest.raises(NeedsError, match=r"write mask\(21, size=\(height, width\)\)"):
        victim(lambda x: x, Image((1, 2, 2)), task=mask(2)).scores(X)


# Attacks whose optimum is known -------------------------------------------------------------------------------------------

RADIUS = (0.24, 0.2)
"""Up to which a sample holds. First: the pixels have room 0.05, 0.12, 0.24, 0.40 and three must fall. Second: 0.05, 0.20, 0.30, 0.20."""


@pytest.mark.few(1, by="name")
@pytest.mark.parametrize("name", ["pgd", "segpgd", "apgd", "fgsm", "square"])
@pytest.mark.parametrize(("radius", "broken"), [(0.19, (False, False)), (0.21, (False, True)), (0.25, (True, True))])
def test_attacks_break_what_can_be_broken(name, radius, broken):
    """Every pixel is its own linear problem, so the radius that is needed is known exactly."""
    asked = victim(Threshold(), Image((1, 2, 2)), task=mask(2))
    attack = find("attack", name)
    threat = Threat(Linf(radius), Untargeted())
    with asked.session():
        points = attack(asked, X, Y, threat)
        assert tuple(asked.task.wrong(Y).met(asked.answer(points)).tolist()) == broken


def test_the_smallest_change_is_found():
    asked = victim(Threshold(), Image((1, 2, 2)), task=mask(2))
    points = find("attack", "fmn")(asked, X, Y, Threat(Linf(0.5), Untargeted(), minimal=True), steps=200)
    sizes = (points - X).abs().flatten(1).amax(1)
    assert sizes.tolist() == pytest.approx(RADIUS, abs=0.004)
    assert not math.isnan(float(sizes.sum()))


def test_an_evaluation_of_masks_runs_by_default(tmp_path):
    """Certifiers that read classes stand aside with a sentence; what falls is judged by the share of right pixels; the report is drawn."""
    net = nn.Conv2d(1, 2, 1)  # the second class where a pixel is above one half
    with torch.no_grad():
        net.weight.copy_(torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1))
        net.bias.copy_(torch.tensor([0.5, -0.5]))
    domain, x = sp.image(16, 16), torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    model = sp.victim(net, domain, task=mask(2), name="toy")
    data = sp.Data.of(x, model.answer(x), domain, task=mask(2), name="toy")
    run = sp.evaluate(model, data, sp.linf(0.3), out=tmp_path, batch=4)
    assert run.status == "done"
    assert run.clean_accuracy.value == 1.0
    table = run.table()
    broken = table[(table.status == "broken") & (table.attack != "clean")]
    assert len(broken)
    assert broken.quality.between(0, 1).all()
    assert broken.margin.lt(0).all()
    (case,) = run.record.header["cases"]
    verdicts = {check["verdict"] for check in case["checks"]}
    assert "ok" in verdicts
    assert "bad" not in verdicts
    assert "could not be rendered" not in Path(run.report()).read_text()
    with pytest.raises(NeedsError, match=r"(certifies|about) classes"):
        sp.certify(model, x, model.answer(x), sp.linf(0.1))
    again = sp.evaluate(model, data, sp.linf(0.3), out=tmp_path, batch=4)
    assert again.table().drop(columns="seconds").equals(table.drop(columns="seconds"))


def test_an_answer_is_named_by_what_its_classes_take():
    """Of six pixels, three are b, two a and one does not count; of many classes the largest three are named."""
    task = mask(3, names=("a", "b", "c"), size=(2, 3))
    (packed,) = task.pack(torch.tensor([[[0, 0, 1], [1, 1, -1]]]))
    assert task.named(packed) == "b 60 %, a 40 %"
    assert task.named("") == "no answer"
    (many,) = mask(6, size=(1, 10)).pack(torch.tensor([[[0, 0, 0, 0, 1, 1, 1, 2, 2, 3]]]))
    assert mask(6).named(many) == "class 0 40 %, class 1 30 %, class 2 20 %, 1 more"


@pytest.mark.parametrize(("share", "words"), [(0.8, "fewer than 80 % of the pixels that count are right"), (1, "a single pixel that counts is wrong")])
def test_the_task_says_what_counts_as_wrong(share, words):
    assert mask(2, share=share).mistake == words


@pytest.mark.parametrize("wrong", [0.0, 0.2, 0.5])
def test_segpgd_weighs_right_and_wrong_pixels(wrong):
    """By hand: of four pixels one does not count, two are right and one is wrong; the gradient is that of the weighted cross-entropies."""
    rng = torch.Generator().manual_seed(0)
    scores = torch.randn(1, 3, 2, 2, generator=rng, dtype=torch.float64)
    truth = scores.argmax(1)
    truth[0, 0, 0] = -1
    truth[0, 1, 1] = (truth[0, 1, 1] + 1) % 3
    scores.requires_grad_(True)
    value = weighted(wrong)(scores, mask(3, size=(2, 2)).wrong(truth))
    logs = -torch.log_softmax(scores, 1)
    parts = {place: logs[0, truth[0][place], place[0], place[1]] for place in ((0, 1), (1, 0), (1, 1))}
    expected = ((1 - wrong) * (parts[0, 1] + parts[1, 0]) + wrong * parts[1, 1]) / 3
    assert float(value.detach()) == pytest.approx(float(expected.detach()))
    assert torch.allclose(*(torch.autograd.grad(one.sum(), scores, retain_graph=True)[0] for one in (value, expected)))


def test_segpgd_is_for_masks_alone():
    asked, threat = sp.load_model("zoo:digits-plain"), Threat(Linf(0.1), Untargeted())
    assert "segpgd is for mask" in str(find("attack", "segpgd").misfit(asked, threat))


def test_a_model_learns_the_names_of_the_data():
    """So that a class can be erased by name; what is wrong must mean the same for both."""
    assert mask(2, size=(4, 4)).told(mask(2, names=("a", "b"))) == mask(2, names=("a", "b"), size=(4, 4))
    assert mask(3).told(mask(2, names=("a", "b"))) == mask(3)
    assert mask(2, names=("c", "d")).told(mask(2, names=("a", "b"))).names == ("c", "d")
    with pytest.raises(InputError, match=r"share=0\.5, but the task of the data has share=0\.8"):
        mask(2).told(mask(2, share=0.8))


def test_an_absent_class_is_absent_beside_ignored_pixels():
    """An image without the class to erase is skipped, whether or not some of its pixels are ignored."""
    task = Mask(2, size=(4, 4))
    truth = torch.zeros(3, 4, 4, dtype=torch.int64)
    truth[0, :2] = 1
    truth[1, 0] = -1
    criterion = Erase(1).freeze(truth, task, None)
    assert criterion.met(task.as_answer(truth)).tolist() == [False, True, True]
