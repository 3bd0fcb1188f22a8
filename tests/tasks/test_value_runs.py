"""Regression end to end: plans with regressors, their metrics and gates, and a run that was killed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from killing import content, killer
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import sparring as sp
from sparring.bench.plan import Plan
from sparring.core.errors import InputError, LoadError, PlanError, UsageError
from sparring.metrics.value_answers import answers
from sparring.models.load import load_model
from sparring.records.record import Record
from sparring.tasks.classes import Classes
from sparring.tasks.values import Values

ROOT = Path(__file__).parents[2]
MODELS = {
    "boosting": lambda: GradientBoostingRegressor(n_estimators=20, max_depth=2, random_state=0),
    "histograms": lambda: HistGradientBoostingRegressor(max_iter=10, random_state=0),
    "forest": lambda: RandomForestRegressor(5, max_depth=4, random_state=0),
    "linear": LinearRegression,
    "pipeline": lambda: make_pipeline(StandardScaler(), LinearRegression()),
}


@pytest.fixture(scope="module")
def trained():
    """All models, fitted on the training part of the diabetes data."""
    train = sp.load("diabetes", split="train")
    return {name: make().fit(train.x.numpy(), train.y[:, 0].numpy()) for name, make in MODELS.items()}


@pytest.fixture(scope="module")
def files(trained, tmp_path_factory):
    """A folder with every model as a skops file."""
    folder = tmp_path_factory.mktemp("models")
    for name, model in trained.items():
        skops.io.dump(model, folder / f"{name}.skops")
    return folder


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    """A run of the boosted trees on 30 patients, by plan."""
    plan = {"model": str(files / "boosting.skops"), "data": "diabetes", "take": 30, "threat": "linf 0.02", "attacks": ["square_two_sided(queries=60)", "noise"]}
    return Plan.of({**plan, "out": str(tmp_path_factory.mktemp("runs")), "gate": ["attacked_mae <= 90", "mae <= 10", "within(tolerance=1000) >= 80%"]}).run()


@pytest.mark.parametrize("name", MODELS)
def test_a_regressor_answers_what_it_predicts(name, trained, files):
    data = sp.load("diabetes", take=10)
    expected = trained[name].predict(data.x.numpy())
    for victim in (sp.victim(trained[name], data.domain), load_model(str(files / f"{name}.skops"), data)):
        assert victim.exposes == {"scores", "labels"}
        assert victim.task.kind == "values"
        assert victim.answer(data.x)[:, 0].tolist() == expected.tolist()
        assert victim.scores(data.x)[:, 0].tolist() == expected.tolist()


@pytest.mark.parametrize("name", ["boosting", "linear"])
def test_a_regressor_survives_its_file(name, trained, files):
    data = sp.load("diabetes", take=10)
    assert load_model(str(files / f"{name}.skops"), data).fingerprint == sp.victim(trained[name], data.domain).fingerprint


def test_models_and_data_that_do_not_answer_alike_are_refused(trained):
    data = sp.load("diabetes", take=10)
    with pytest.raises(LoadError, match="fit it first"):
        sp.victim(GradientBoostingRegressor(), data.domain)
    classifier = LogisticRegression().fit(data.x.numpy(), data.y[:, 0].numpy() > 150)
    with pytest.raises(LoadError, match="answers 2 classes, the task is 1 value"):
        sp.victim(classifier, data.domain, task=Values())
    with pytest.raises(LoadError, match="answers 1 value, the task is 3 classes"):
        sp.victim(trained["linear"], data.domain, task=Classes(3))
    with pytest.raises(UsageError, match="targeted is for answers of the kind classes"):
        sp.evaluate(trained["linear"], data, sp.linf(0.01).targeted(0), out="memory://refused")
    with pytest.raises(UsageError, match=r"odi (is for|needs) classes"):
        sp.evaluate(trained["linear"], data, sp.linf(0.01), ["odi"], out="memory://refused")


@pytest.mark.parametrize("kind", ["xgboost", "lightgbm"])
def test_files_of_boosted_regressors_are_read(kind, tmp_path):
    library = pytest.importorskip(kind)
    train, data = sp.load("diabetes", split="train"), sp.load("diabetes", take=10)
    x, y = train.x.numpy(), train.y[:, 0].numpy()
    if kind == "xgboost":
        model, path = library.XGBRegressor(n_estimators=5, n_jobs=1).fit(x, y), tmp_path / "model.json"
        model.save_model(path)
    else:
        model, path = library.LGBMRegressor(n_estimators=5, n_jobs=1, verbose=-1).fit(x, y), tmp_path / "model.txt"
        model.booster_.save_model(path)
    victim = load_model(str(path), data)
    assert victim.task == data.task
    assert "agrees with" in victim.ensemble.checked
    np.testing.assert_allclose(victim.scores(data.x)[:, 0].numpy(), model.predict(data.x.numpy()), rtol=1e-5)


@pytest.mark.parametrize("objective", ["count:poisson", "reg:gamma"])
def test_objectives_that_predict_an_exponential_are_refused(objective, tmp_path):
    xgboost = pytest.importorskip("xgboost")
    train = sp.load("diabetes", split="train")
    xgboost.XGBRegressor(n_estimators=2, n_jobs=1, objective=objective).fit(train.x.numpy(), train.y[:, 0].numpy()).save_model(tmp_path / "model.json")
    with pytest.raises(LoadError, match=f"objective {objective}: supported are"):
        load_model(str(tmp_path / "model.json"), train)


def test_the_numbers_follow_from_the_table(run):
    """By hand: errors and shifts of the answers on record."""
    (case,), rows = run.summary(), run.table()
    measured = {one["metric"]: one for one in case["of_the_task"]}
    clean = rows[rows.attack == "clean"].set_index("id")
    truth, before = clean.wanted.astype(float), clean.given.astype(float)
    asked = rows[rows.given.notna()]
    answered = asked.assign(
        error=(asked.given.astype(float) - asked.wanted.astype(float)).abs(), shift=(asked.given.astype(float) - asked.id.map(before)).abs()
    )
    assert measured["mae"]["value"] == pytest.approx(float((before - truth).abs().mean()))
    assert measured["attacked_mae"]["value"] == pytest.approx(float(answered.groupby("id").error.max().mean()))
    assert measured["mean_shift"]["value"] == pytest.approx(float(answered.groupby("id")["shift"].max().mean()))
    assert measured["largest_shift"]["value"] == float(answered["shift"].max()) > 10
    assert case["clean_accuracy"]["value"] == pytest.approx(float(((before - truth).abs() <= sp.load("diabetes").task.tolerance[0]).mean()))
    assert measured["attacked_mae"]["value"] > measured["mae"]["value"]
    assert not measured["mae"]["share"]


def test_gates_are_judged_in_the_unit_of_the_answers(run):
    gate = {one["rule"].split()[0]: one for one in run.record.header["gate"]}
    assert [one["met"] for one in gate.values()] == [True, False, True]
    assert gate["attacked_mae"]["high"] > gate["attacked_mae"]["value"] > 40
    assert gate["within(tolerance=1000)"]["value"] == 1.0


@pytest.mark.parametrize("rule", ["mae <= 40%", "attacked_mae <= inf", "within(tolerance=4) >= 40", "mean_iou >= 0.5"])
def test_wrong_gates_are_refused(rule, files):
    plan = {"model": str(files / "linear.skops"), "data": "diabetes", "take": 5, "threat": "linf 0.02", "attacks": "noise", "out": "memory://gate"}
    with pytest.raises(PlanError, match="gate"):
        Plan.of({**plan, "gate": rule}).run()


def test_the_table_shows_numbers_in_their_unit(run, capsys):
    from sparring.cli.summary import print_run

    assert print_run(run, as_json=False, quiet=False) == 1
    shown = capsys.readouterr().out
    assert "attacked mae" in shown
    assert "mae <= 10   boosting" in shown
    assert "MISSED" in shown


def test_a_missing_answer_is_an_infinite_error():
    rows = pd.DataFrame({"id": ["a", "a"], "attack": ["clean", "x"], "status": ["held", "error"], "wanted": ["1.0"] * 2, "given": ["1.5", ""], "size": 0.0})
    found = answers(rows.assign(position=0))
    assert found.error.tolist() == [0.5, float("inf")]
    assert found["shift"].tolist() == [0.0, float("inf")]


class TestGoals:
    """A regressor that answers its only column."""

    x = np.array([[0.0], [0.5], [0.9], [2.0], [0.5]])
    y = np.array([0.0, 0.4, 0.9, 2.0, 5.0])

    def statuses(self, goal, tolerance=0.3, radius=0.2):
        domain = sp.table(pd.DataFrame({"a": [-10.0, 10.0]}))
        data = sp.Data.of(self.x, self.y, domain, task=Values(1, tolerance))
        victim = sp.victim(lambda rows: np.asarray(rows, dtype=float)[:, 0], domain, task=Values(), name="column")
        from sparring.core.expression import parse
        from sparring.core.registry import find

        written = parse(goal)
        threat = sp.linf(radius).toward(find("goal", written.name)(*written.arguments))
        rows = sp.evaluate(victim, data, threat, ["square_two_sided(queries=8)"], out="memory://goals").table()
        return [rows[rows.attack == attack].sort_values("position").status.tolist() for attack in ("clean", "square_two_sided(queries=8)")]

    def test_untargeted_is_the_tolerance(self):
        clean, attacked = self.statuses("untargeted")
        assert clean == ["held", "held", "held", "held", "broken"]
        assert attacked == ["held"] * 4 + ["skipped"]
        assert self.statuses("untargeted", tolerance=0.15)[1] == ["broken"] * 4 + ["skipped"]

    def test_away_takes_the_place_of_the_tolerance(self):
        """The last sample is 4.5 off and still counts as right; a shift by 0.2 in its direction leaves it within 5."""
        assert self.statuses("away 4.6") == [["held"] * 5, ["held"] * 4 + ["broken"]]

    def test_samples_whose_truth_is_beyond_the_bound_are_outside_the_question(self):
        """The fourth and fifth are above 1 in truth; the third reaches 1 from 0.9."""
        clean, attacked = self.statuses("above 1")
        assert clean == ["held", "held", "held", "skipped", "skipped"]
        assert attacked == ["held", "held", "broken", "skipped", "skipped"]

    def test_an_answer_that_meets_the_goal_unaided_is_wrong_without_attack(self):
        """The second sample answers 0.5 where the truth is 0.4: above 0.45 without any change, though within the tolerance."""
        clean, attacked = self.statuses("above 0.45")
        assert clean == ["held", "broken", "skipped", "skipped", "skipped"]
        assert attacked == ["held", "skipped", "skipped", "skipped", "skipped"]


class TestTables:
    """What a target column of numbers is."""

    def read(self, folder, values, **options):
        path = folder / "t.csv"
        path.write_text("a,target\n" + "".join(f"{place},{value}\n" for place, value in enumerate(values)))
        return sp.load(path, **options)

    def test_many_real_numbers_are_values(self, tmp_path):
        data = self.read(tmp_path, [0.5 * place for place in range(30)])
        assert data.task.kind == "values"
        assert "30 different numbers were taken as values" in data.source
        assert data.y.shape == (30, 1)

    def test_few_real_numbers_are_refused(self, tmp_path):
        with pytest.raises(InputError, match=r"holds 0\.5, not a class: .* or write task=values"):
            self.read(tmp_path, [0.5, 1.5] * 20)
        assert self.read(tmp_path, [0.5, 1.5] * 20, task="values").task.kind == "values"

    def test_many_whole_numbers_could_be_both(self, tmp_path):
        ages = [20 + 3 * (place % 25) for place in range(100)]
        with pytest.raises(InputError, match=r"25 different whole numbers in 100 rows, from 20 to 92: write task=values .* task=classes"):
            self.read(tmp_path, ages)
        assert self.read(tmp_path, ages, task="values(tolerance=2)").task == Values(1, 2, (float(np.std(ages)),))
        assert len(self.read(tmp_path, ages, task="classes").classes) == 25

    @pytest.mark.parametrize(
        "values", [[place % 30 for place in range(60)], [1 + place % 30 for place in range(60)], [7 * (place % 25) for place in range(300)]]
    )
    def test_numbered_or_frequent_whole_numbers_are_classes(self, tmp_path, values):
        assert self.read(tmp_path, values).task.kind == "classes"

    def test_the_task_of_an_embedded_set_takes_settings_and_no_other_kind(self):
        assert sp.load("diabetes", task="values(1, tolerance=20)").task.tolerance == 20
        assert sp.load("digits", take=3, task="classes").task == Classes(10)
        with pytest.raises(InputError, match="holds 1 value"):
            sp.load("diabetes", task="classes")


class Net(nn.Sequential):
    """A small network, named so that a plan finds it."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 1))
        with torch.no_grad():
            self[2].weight.mul_(100)
            self[2].bias.fill_(150)


@pytest.fixture
def here(monkeypatch):
    """This folder on the import path, for the factory of a plan."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.mark.slow
def test_the_default_set_runs_on_both_kinds_of_model(files, here, tmp_path):
    """Gradient attacks for the network, random search for the trees, and a control that finds no more than they do."""
    plan = {
        "model": ["test_value_runs:Net", str(files / "boosting.skops")],
        "data": "diabetes",
        "take": 4,
        "threat": "linf 0.03",
        "task": "values(tolerance=90)",
    }
    run = Plan.of({**plan, "attacks": "fast", "out": str(tmp_path)}).run()
    assert run.status == "done"
    for case in run.summary():
        assert case["errors"] == 0
        assert any(name.startswith("noise") for name in case["fell_to"])
        searches = "pgd_two_sided" if case["case"].startswith("Net") else "square_two_sided"
        assert any(name.startswith(searches) for name in case["fell_to"])
    assert "Values" in Path(run.report()).read_text()


LONGER = {"data": "diabetes", "take": 40, "threat": "linf 0.02", "goal": "up 30", "attacks": ["square_two_sided(queries=40)", "noise(tries=3)"], "batch": 4}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_kill_9(seed, files, tmp_path):
    """A run that was killed after some parts goes on to the record of one that was not."""
    plan = {**LONGER, "model": str(files / "boosting.skops"), "seed": seed}
    whole = Plan.of({**plan, "out": str(tmp_path / "whole")}).run()
    out = tmp_path / "killed"
    out.mkdir()
    with killer(plan) as kill:
        kill(out, 5)
    (folder,) = out.iterdir()
    assert 0 < len(Record.open(folder).table()) < len(whole.table())
    run = Plan.of({**plan, "out": str(out)}).run()
    assert run.status == "done"
    pd.testing.assert_frame_equal(content(run), content(whole))
