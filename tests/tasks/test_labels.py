"""The task labels: answers, criterion, quality and packing, with values worked out by hand and against enumeration."""

import itertools
import math
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import helper as make
from sklearn.metrics import jaccard_score
from torch import nn

import sparring as sp
from sparring.attacks.attack import read_attack
from sparring.attacks.losses import loss_of
from sparring.core.errors import InputError, LoadError, NeedsError, PlanError, RecordError, UnknownName
from sparring.core.fit import read_fit
from sparring.core.registry import everything, find
from sparring.core.rng import Rng
from sparring.data.load import read_task
from sparring.tasks.classes import Classes
from sparring.tasks.labels import Labels, LabelsCriterion, labels
from sparring.threats.add import Add
from sparring.threats.erase import Erase

NAMES = ("cat", "dog", "bird")
TRUTH = torch.tensor([[1, 0, 1], [0, 0, 0], [1, -1, 0]])


@pytest.fixture
def task() -> Labels:
    return labels(names=NAMES)


# Answers and truth ------------------------------------------------------------------------------------------------------


def test_a_label_is_there_where_its_logit_is_positive(task):
    scores = torch.tensor([[0.1, 0.0, -0.1], [-math.inf, 3.0, -0.0], [math.inf, 0.0, 0.0], [1.0, math.nan, 1.0]])
    assert task.answer(scores).tolist() == [[1, 0, 0], [0, 1, 0], [-1, -1, -1], [-1, -1, -1]]
    assert task.answered(task.answer(scores)).tolist() == [True, True, False, False]
    assert task.no_answer(scores).tolist() == [[-1] * 3] * 4


def test_quality_is_the_jaccard_index(task):
    """Of {cat, bird} and {cat, dog} one of three; of two empty sets 1; a label that is not known does not count; nought without an answer."""
    answer = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 1, 0]])
    assert task.quality(answer, TRUTH).tolist() == pytest.approx([1 / 3, 1, 1])
    assert task.quality(task.no_answer(answer), TRUTH).tolist() == [0, 0, 0]
    assert task.quality(task.as_answer(TRUTH), TRUTH).tolist() == [1, 1, 1]


def test_quality_agrees_with_scikit_learn(task):
    rng = np.random.default_rng(0)
    truth, answer = rng.integers(0, 2, (2, 50, 3))
    found = task.quality(torch.from_numpy(answer), torch.from_numpy(truth))
    expected = [jaccard_score(one, other, zero_division=1) for one, other in zip(truth, answer, strict=True)]
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("written", [
    [[1, 0, 1], [0, 0, 0], [1, 1, 0]],
    np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0]], dtype=bool),
    pd.DataFrame([[1.0, 0, 1], [0, 0, 0], [1, 1, 0]]),
    torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 0]], dtype=torch.uint8),
    [{"cat", "bird"}, set(), {"dog", "cat"}],
    [["bird", "cat"], [], ("cat", "dog")],
    [{0, 2}, frozenset(), {np.int64(1), 0}],
    pd.Series([{"cat", "bird"}, set(), {"dog", "cat"}]),
])  # fmt: skip
def test_a_truth_may_be_written_as_a_table_or_as_sets(written, task):
    assert task.check(written, 3).tolist() == [[1, 0, 1], [0, 0, 0], [1, 1, 0]]
    assert task.check(written, 3).dtype == torch.int64


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        (np.array([0, 2, 1]), r"shape \(3,\), such as \[0, 2, 1\], one number per sample.*for one class per sample, leave out task=labels"),
        (["cat", "dog", "cat"], "not numbers"),
        (np.zeros((3, 3, 2)), r"shape \(3, 3, 2\)"),
        (np.zeros((2, 3)), "2 sets of labels for 3 samples"),
        (np.zeros((3, 4)), "4 labels per sample, but the task has 3"),
        (np.full((3, 3), 2), "labels hold 2: write 1 for a label that is there, 0 for one that is not, -1 where it is not known"),
        (np.full((3, 3), 0.5), "labels hold 0.5"),
        (np.full((3, 3), np.nan), "labels hold nan"),
        (np.full((3, 3), -1), r"sample 0 has no label that is known \(3 such samples\): leave these samples out"),
        ([{"cat"}, {"cow"}, set()], "there is no label 'cow': the labels are cat, dog, bird"),
        ([{3}, {0}, set()], "there is no label 3"),
        ([[1, 0], [1], [0]], "not numbers"),
        (None, r"shape \(\)|not numbers"),
    ],
)
def test_a_wrong_truth_is_refused(truth, words, task):
    with pytest.raises(InputError, match=words):
        task.check(truth, 3)


def test_sets_of_unknown_labels_are_refused():
    with pytest.raises(InputError, match=r"their number is not known: write labels\(5\), or give their names"):
        labels().check([{1}, {0}], 2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"count": 0}, "at least 1"),
        ({"count": True}, "at least 1"),
        ({"count": 2.0}, "at least 1"),
        ({"count": 3, "share": 0}, "share=0"),
        ({"count": 3, "share": 1.5}, "share=1.5"),
        ({"count": 3, "names": ["a", "b"]}, "2 names"),
        ({"names": ["a", "b", "a"]}, "two labels are called 'a'"),
        ({"count": 3, "threshold": 1}, "threshold=1: give the probability"),
        ({"count": 3, "threshold": [0.5, 0.5]}, "2 thresholds for 3 labels"),
        ({"count": 2, "threshold": [0.5, "x"]}, "threshold='x'"),
        ({"count": 2, "probabilities": 1}, "probabilities=1"),
    ],
)
def test_settings_are_checked(settings, words):
    with pytest.raises(InputError, match=words):
        labels(**settings)


def test_restore_brings_the_task_back():
    for task in (labels(), labels(3, share=0.5, names=NAMES, threshold=[0.1, 0.5, 0.9]), labels(2, threshold=0.3, probabilities=True)):
        assert Labels.restore(task.describe()) == task


def test_a_plan_writes_the_task():
    assert read_task("labels(5)") == labels(5)
    assert read_task('labels(share=0.8, names=["a", "b"], threshold=[0.2, 0.3])') == labels(2, share=0.8, names=["a", "b"], threshold=(0.2, 0.3))
    with pytest.raises(UnknownName, match="did you mean share"):
        read_task("labels(5, shares=0.8)")


def test_one_name_is_no_list_of_letters():
    assert labels(names="cat") == read_task("labels(names=cat)") == labels(1, names=["cat"])


def test_the_data_tells_the_names_and_must_mean_the_same(task):
    assert labels(3).told(task).names == NAMES
    assert labels(4).told(task).names == ()
    assert labels(3).told(Classes(3)) == labels(3)
    assert labels(3, threshold=0.3).told(labels(3)).threshold == 0.3
    with pytest.raises(InputError, match=r"share=1, but the task of the data has share=0.5: give model and data the same"):
        labels(3).told(labels(3, share=0.5))
    with pytest.raises(InputError, match=r"threshold=None, but the task of the data has threshold=0.3"):
        labels(3).told(labels(3, threshold=0.3))


# Packing ----------------------------------------------------------------------------------------------------------------


def test_packing_brings_every_set_back(task):
    table = torch.cat([TRUTH, torch.full((1, 3), -1)])
    assert task.pack(table) == ["x.x", "...", "x?.", ""]
    assert torch.equal(task.unpack(task.pack(table)), table)
    assert torch.equal(labels().unpack(["", "x.x"]), torch.tensor([[-1] * 3, [1, 0, 1]]))
    assert labels(4).unpack([]).shape == (0, 4)


@pytest.mark.parametrize("forged", ["x.", "x.x.", "1.0", "x. ", "x.\n", "é..", "<b>"])
def test_forged_strings_are_refused(forged, task):
    with pytest.raises(RecordError, match="is not a packed set of 3 labels: delete the part of the record"):
        task.unpack(["x..", forged])


def test_a_forged_set_of_many_labels_is_refused():
    with pytest.raises(RecordError, match="is not a packed set"):
        labels().unpack(["x" * ((1 << 20) + 1)])


def test_answers_are_named_for_people(task):
    assert [task.named(one) for one in ("xx.", "...", "", "x?.")] == ["cat, dog", "none of the labels", "no answer", "cat"]
    assert labels(3).named("..x") == "label 2"
    assert labels(12).named("x" * 12).endswith("label 7, 4 more")


# The criterion, against enumeration -------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.01, 0.5, 0.6, 0.75, 1.0])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_wrong_is_less_than_the_share_and_the_loss_agrees(share, count):
    """On every truth with every answer: an answer is wrong if fewer labels are right than the share asks for, and the loss is positive exactly then.

    Scores of exactly 0 say that a label is absent.
    """
    truths = torch.tensor([one for one in itertools.product((-1, 0, 1), repeat=count) if any(label >= 0 for label in one)])
    answers = torch.tensor(list(itertools.product((0, 1), repeat=count)))
    truth = truths.repeat_interleave(len(answers), 0)
    answer = answers.repeat(len(truths), 1)
    task = labels(count, share=share)
    criterion = task.wrong(truth)
    expected = []
    for true, said in zip(truth.tolist(), answer.tolist(), strict=True):
        counted = [one == known for one, known in zip(said, true, strict=True) if known >= 0]
        expected.append(sum(counted) < math.ceil(share * len(counted) - 1e-9))
    assert criterion.met(answer).tolist() == expected
    assert task.right(answer, truth).tolist() == [not one for one in expected]
    rng = torch.Generator().manual_seed(count)
    for low in (0.0, -0.3):  # absent labels have a score of 0, or one below
        for dtype in (torch.float32, torch.float64):
            scores = torch.where(answer == 1, torch.rand(answer.shape, generator=rng) + 0.01, torch.full(answer.shape, low)).to(dtype)
            assert torch.equal(task.answer(scores), answer)
            assert (criterion.loss(scores) > 0).tolist() == expected


def test_the_loss_is_the_gap_that_decides():
    """Gaps 3, 2, 1 of three labels that are right: with two of three to be right, two must fall, so the gap 2 decides."""
    scores = torch.tensor([[3.0, -2.0, 1.0]], dtype=torch.float64, requires_grad=True)
    criterion = labels(3, share=0.6).wrong(torch.tensor([[1, 0, 1]]))
    loss = criterion.loss(scores)
    assert loss.tolist() == [-2.0]
    (slope,) = torch.autograd.grad(loss.sum(), scores)
    assert slope.tolist() == [[0.0, 0.5, -0.5]]


def test_the_exact_set_hangs_on_the_weakest_label(task):
    scores = torch.tensor([[3.0, -2.0, 1.0], [-1.0, -5.0, -4.0]], requires_grad=True)
    loss = task.wrong(TRUTH[:2]).loss(scores)
    assert loss.tolist() == [-1.0, -1.0]
    (slope,) = torch.autograd.grad(loss.sum(), scores)
    assert slope.tolist() == [[0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]


def test_infinite_scores_have_a_loss_and_no_gradient(task):
    scores = torch.tensor([[-math.inf, -2.0, 1.0]], requires_grad=True)
    loss = task.wrong(TRUTH[:1]).loss(scores)
    assert loss.tolist() == [math.inf]
    assert torch.isfinite(torch.autograd.grad(loss.sum(), scores)[0]).all()


LOSSES = [name for name in everything("loss") if find("loss", name).fits(LabelsCriterion)]


def test_losses_of_labels_are_found():
    assert set(LOSSES) == {"ce", "dlr", "margin", "mifpe", "pm"}
    with pytest.raises(NeedsError, match='the loss "pixel_margin" is for MaskCriterion, not for LabelsCriterion: use loss="margin"'):
        loss_of("pixel_margin")(torch.zeros(1, 3), labels(3).wrong(TRUTH[:1]))


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_grows_toward_the_goal(name):
    """Moving all scores toward the wrong side raises every loss, and its gradient says so."""
    rng = torch.Generator().manual_seed(1)
    truth = torch.randint(0, 2, (20, 4), generator=rng)
    toward = (1 - 2 * truth).double()
    scores = torch.randn(20, 4, generator=rng, dtype=torch.float64) - 2 * toward
    moved = (scores + 0.05 * toward).requires_grad_(True)
    criterion = labels(4).wrong(truth)
    loss = loss_of(name)(moved, criterion)
    assert bool((loss > loss_of(name)(scores, criterion)).all())
    (slope,) = torch.autograd.grad(loss.sum(), moved)
    assert bool(((slope * toward).sum(1) > 0).all())


@pytest.mark.parametrize("name", [one for one in LOSSES if one != "margin"])
def test_a_loss_never_falls_where_a_label_falls(name):
    """Along a straight way on which one label after the other flips, the loss only rises; labels that have fallen have no gradient."""
    criterion = labels(4).wrong(torch.tensor([[1, 0, 1, -1]]))
    values = []
    for shift in np.linspace(0, 4, 81):
        scores = torch.tensor([[1 - shift, shift - 2, 3 - shift, 1.0]], dtype=torch.float64, requires_grad=True)
        loss = loss_of(name)(scores, criterion)
        (slope,) = torch.autograd.grad(loss.sum(), scores, allow_unused=True) if loss.requires_grad else (None,)
        slope = torch.zeros_like(scores) if slope is None else slope
        fallen = torch.tensor([shift > 1, shift > 2, shift > 3, True])
        assert float(slope[:, fallen].abs().sum()) == 0
        values.append(float(loss.detach()))
    assert all(b >= a - 1e-12 for a, b in zip(values, values[1:], strict=False))


def test_binary_cross_entropy_by_hand(task):
    """Two right labels with gaps 1 and 2, one that is not known: the mean of log(1 + exp(-gap)) over the two."""
    scores = torch.tensor([[1.0, 5.0, -2.0]], dtype=torch.float64)
    expected = (math.log1p(math.exp(-1)) + math.log1p(math.exp(-2))) / 2
    assert loss_of("ce")(scores, task.wrong(TRUTH[2:])).item() == pytest.approx(expected)
    assert task.training_loss(scores, TRUTH[2:]).item() == pytest.approx(expected)


# Thresholds and probabilities -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.3, (0.2, 0.5, 0.9)])
def test_a_threshold_decides(threshold):
    task, rng = labels(3, threshold=threshold), np.random.default_rng(0)
    chances = rng.uniform(0.01, 0.99, (100, 3))
    logits = torch.from_numpy(np.log(chances / (1 - chances)))
    assert torch.equal(task.answer(task.scores(logits, "m")), torch.from_numpy((chances > np.array(threshold)).astype(np.int64)))
    assert torch.allclose(task.unshifted(task.scores(logits, "m")), logits)
    given = labels(3, threshold=threshold, probabilities=True)
    assert torch.equal(given.answer(given.scores(torch.from_numpy(chances), "m")), torch.from_numpy((chances > np.array(threshold)).astype(np.int64)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_probabilities_become_logits_with_the_same_answers(dtype):
    """The ends are finite, one half is 0, and its neighbours lie on their own sides."""
    half = torch.tensor(0.5, dtype=dtype)
    chances = torch.stack([torch.tensor(0.0, dtype=dtype), half.nextafter(half * 0), half, half.nextafter(half * 2), torch.tensor(1.0, dtype=dtype)])[None]
    task = labels(5, probabilities=True)
    scores = task.scores(chances, "m")
    assert torch.isfinite(scores).all()
    assert scores.sign().tolist() == [[-1, -1, 0, 1, 1]]
    with pytest.raises(LoadError, match=r"m returned 1.5, which is no probability: leave out probabilities="):
        task.scores(chances + 0.5, "m")


# Goals ------------------------------------------------------------------------------------------------------------------


def frozen(goal, truth=TRUTH, task=None):
    return goal.freeze(truth, task or labels(names=NAMES), Rng.of(0, range(len(truth))))


@pytest.mark.parametrize("goal", [Erase("bird"), Add("bird"), Erase(1), Add(1)])
def test_goals_are_met_by_one_label(goal):
    """On every truth with every answer; samples for which the goal makes no sense meet it by their truth, by which an evaluation skips them."""
    truths = torch.tensor(list(itertools.product((-1, 0, 1), repeat=3)))
    answers = torch.tensor(list(itertools.product((0, 1), repeat=3)))
    truth, answer = truths.repeat_interleave(len(answers), 0), answers.repeat(len(truths), 1)
    place, wanted = {"bird": 2, 1: 1}[goal.target], 0 if goal.kind == "erase" else 1
    asked = truth[:, place] == 1 - wanted
    criterion = frozen(goal, truth)
    assert torch.equal(criterion.met(answer), ~asked | (answer[:, place] == wanted))
    assert torch.equal(criterion.met(labels(3).as_answer(truth)), ~asked)
    scores = answer.double() * 2 - 1
    assert torch.equal((criterion.loss(scores) > 0)[asked], criterion.met(answer)[asked])
    assert goal.clean() == goal


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_probability_at_the_threshold_is_not_above_it(dtype):
    """In the precision of the model: 0.3 as float32 does not exceed 0.3, the next number does."""
    for percent in range(1, 100):
        threshold = torch.tensor([[percent / 100]], dtype=dtype)
        above, below = (torch.nextafter(threshold, torch.tensor(end, dtype=dtype)) for end in (1.0, 0.0))
        task = Labels(1, threshold=percent / 100, probabilities=True)
        assert task.answer(task.scores(torch.cat([threshold, above, below]), "net")).flatten().tolist() == [0, 1, 0]


def test_a_number_that_is_also_a_name_is_refused():
    """`erase 0` in a plan may mean the label called 0, or the first one."""
    named = Labels(names=("a", "0", "2"))
    assert named.number_of("0") == 1
    assert named.number_of(2) == 2
    with pytest.raises(InputError, match="0 is the name of one label and the number of another: the labels are a, 0, 2"):
        named.number_of(0)


def test_goals_are_refused_where_they_make_no_sense():
    with pytest.raises(InputError, match="there is no label 'cow': the labels are cat, dog, bird"):
        frozen(Add("cow"))
    with pytest.raises(InputError, match=r"erase cat 0.5: a label is in the answer or it is not, so leave out the share"):
        frozen(Erase("cat", 0.5))
    with pytest.raises(InputError, match="add is for answers of the kind labels, but the model answers 3 classes"):
        frozen(Add(1), torch.tensor([0]), Classes(3))
    with pytest.raises(PlanError, match="give a label by its number or name"):
        Add(1.5)


# Models -----------------------------------------------------------------------------------------------------------------


class Level(nn.Module):
    """One logit per pixel: how far it is above 0.5."""

    def forward(self, x):
        return x.flatten(1) - 0.5


X = torch.tensor([[[[0.55, 0.30], [0.74, 0.90]]], [[[0.45, 0.30], [0.20, 0.70]]]])
Y = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 1]])
DOMAIN = sp.image(2, 2)


def test_a_torch_module_tells_the_number_of_labels():
    asked = sp.victim(Level(), DOMAIN, task=labels())
    assert asked.task == labels(4)
    with asked.session():
        assert torch.equal(asked.answer(X), Y)
    with pytest.raises(LoadError, match="gives 4 scores per sample, but the task has 3 labels: change one of them"):
        sp.victim(Level(), DOMAIN, task=labels(3))


def test_functions_answer_by_scores_and_by_sets():
    by_scores = sp.victim(lambda x: x.reshape(len(x), -1) - 0.5, DOMAIN, task=labels(4), fingerprint="a")
    by_sets = sp.victim(lambda x: (x.reshape(len(x), -1) > 0.5).astype(int), DOMAIN, task=labels(4), labels_only=True, fingerprint="b")
    for asked in (by_scores, by_sets):
        with asked.session():
            assert torch.equal(asked.answer(X), Y)
    with pytest.raises(LoadError, match=r"give the logits, or say labels_only=True"):
        sp.victim(lambda x: x.reshape(len(x), -1) > 0.5, DOMAIN, task=labels(4), fingerprint="c").scores(X)
    with pytest.raises(LoadError, match=r"answers without scores are 0 or 1 per label"):
        sp.victim(lambda x: x.reshape(len(x), -1) * 3, DOMAIN, task=labels(4), labels_only=True, fingerprint="d").answer(X)
    with pytest.raises(NeedsError, match=r"the number of labels is not known: write labels\(5\)"):
        sp.victim(lambda x: x.reshape(len(x), -1), DOMAIN, task=labels(), fingerprint="e").scores(X)


@pytest.mark.parametrize("end", ["logits", "probabilities"])
def test_an_onnx_file_answers_sets(end, tmp_path):
    """Also one that ends in a sigmoid, where the task says so; gradients are those of the logits."""
    nodes = [make.make_node("Flatten", ["x"], ["flat"]), make.make_node("Sub", ["flat", "half"], ["logits"])]
    nodes += [make.make_node("Sigmoid", ["logits"], ["probabilities"])] if end == "probabilities" else []
    ends = [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", *shape]) for name, shape in (("x", (1, 2, 2)), (end, (4,)))]
    half = onnx.numpy_helper.from_array(np.array([0.5], dtype=np.float32), "half")
    model = make.make_model(make.make_graph(nodes, "g", ends[:1], ends[1:], [half]), opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "level.onnx").write_bytes(model.SerializeToString())
    asked = sp.victim(str(tmp_path / "level.onnx"), DOMAIN, task=labels(probabilities=end == "probabilities"))
    assert asked.task.count == 4
    with asked.session():
        assert torch.equal(asked.answer(X), Y)
        torch.testing.assert_close(asked.scores(X), X.flatten(1) - 0.5, rtol=1e-4, atol=1e-6)
        if end == "logits":
            assert torch.equal(asked.gradient(X, lambda scores: scores.sum(1)).grad, torch.ones_like(X))


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("apgd", "square(queries=2000)", "hopskipjump")]


@pytest.mark.parametrize("name", ["pgd", "pgd(loss=margin)", *SLOW])
@pytest.mark.parametrize(("radius", "broken"), [(0.045, [False, False]), (0.055, [True, True])])
def test_attacks_break_what_can_be_broken(name, radius, broken):
    """Every label is a linear problem of its own, so the radius that is needed is known: 0.05 for both samples."""
    asked = sp.victim(Level(), DOMAIN, task=labels(4))
    with asked.session():
        points = read_attack(name)(asked, X, Y, sp.linf(radius))
        found = asked.task.wrong(Y).met(asked.answer(points)).tolist()
    assert found == broken if name != "hopskipjump" else not any(found) or any(broken)


@pytest.mark.parametrize(("goal", "needed"), [(Erase(2), [0.24, None]), (Add(1), [0.2, 0.2]), (Erase(3), [0.4, 0.2])])
def test_attacks_reach_a_goal_where_it_can_be_reached(goal, needed):
    asked = sp.victim(Level(), DOMAIN, task=labels(4))
    for factor in (0.97, 1.03):
        for row, radius in enumerate(needed):
            if radius is None:
                continue
            x, y, threat = X[row : row + 1], Y[row : row + 1], sp.linf(radius * factor).toward(goal)
            with asked.session():
                points = read_attack("pgd")(asked, x, y, threat)
                assert frozen(goal, y, asked.task).met(asked.answer(points)).tolist() == [factor > 1]


def test_a_fit_learns_sets():
    """A linear network learns which of two columns are positive."""
    x = torch.rand(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    data = sp.Data.of(x.numpy(), (x > 0).long(), sp.table(pd.DataFrame(x.numpy(), columns=["a", "b"])), task=labels())
    asked = read_fit("linear(steps=30)")(data, 0)
    assert asked.task.count == 2
    with asked.session():
        assert (asked.answer(data.x) == data.y).double().mean() > 0.9


def test_an_evaluation_of_labels_runs_by_default(tmp_path):
    """Certifiers that read classes stand aside; what falls is judged by the sets; the report is drawn; the run is found again."""
    x = torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    model = sp.victim(Level(), DOMAIN, task=labels(4), name="toy")
    data = sp.Data.of(x, model.answer(x), DOMAIN, task=labels(4), name="toy")
    run = sp.evaluate(model, data, sp.linf(0.15), out=tmp_path, batch=4)
    assert run.status == "done"
    assert run.clean_accuracy.value == 1.0
    table = run.table()
    assert len(table[(table.status == "broken") & (table.attack != "clean")])
    near = (x.flatten(1) - 0.5).abs().amin(1) < 0.15
    assert run.robust_accuracy.value == pytest.approx(1 - near.double().mean().item())
    (case,) = run.record.header["cases"]
    assert "bad" not in {check["verdict"] for check in case["checks"]}
    assert "could not be rendered" not in Path(run.report()).read_text()
    with pytest.raises(NeedsError, match=r"(certifies|about) classes"):
        sp.certify(model, x, model.answer(x), sp.linf(0.15))
    again = sp.evaluate(model, data, sp.linf(0.15), out=tmp_path, batch=4)
    assert again.table().drop(columns="seconds").equals(table.drop(columns="seconds"))
