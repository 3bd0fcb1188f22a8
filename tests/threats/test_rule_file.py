"""Rule files: what they say is what the space does; the packaged rules are true of their data."""

from pathlib import Path

import pytest
import torch

import sparring as sp
from sparring.core.errors import LoadError, UnknownName
from sparring.core.registry import everything
from sparring.core.threat import Threat
from sparring.data.load import load
from sparring.models.load import load_model
from sparring.threats.goals import Untargeted
from sparring.threats.rules import Relation, Rule, read_rules

FULL = """
radius: 2
columns:
  age: {reach: 5, direction: up, cost: 0.5, unit: years}
  city: {}
  name: {direction: none}
relations:
  - {weights: {age: 1, city: -2}, bound: 3, repair: city}
  - {weights: {age: 1}, bound: 1, equal: true}
one_hot:
  - [red, blue]
"""


def write(folder, content, name="mine.yaml"):
    (folder / name).write_text(content)
    return folder / name


def test_every_key_arrives(tmp_path):
    rules = read_rules(write(tmp_path, FULL))
    assert rules.radius == 2
    assert rules.rules == (Rule("age", 5, "up", 0.5), Rule("city"), Rule("name", direction="none"))
    assert rules.relations == (Relation({"age": 1, "city": -2}, 3, False, "city"), Relation({"age": 1}, 1, True))
    assert rules.one_hot == (("red", "blue"),)


def test_the_caller_may_set_the_radius(tmp_path):
    assert read_rules(str(write(tmp_path, FULL)), 0.5).radius == 0.5
    assert read_rules("breast-cancer", 0.0).radius == 0


COLUMN = "radius: 1\ncolumns: {age: {reach: 1}}\n"
WRONG = {
    "key": (COLUMN + "relation: []", UnknownName, "did you mean relations"),
    "column key": ("radius: 1\ncolumns: {age: {raech: 1}}", UnknownName, "columns, age 'raech': did you mean reach"),
    "relation key": (COLUMN + "relations: [{weigths: {age: 1}, weights: {age: 1}}]", UnknownName, "relations, 0 'weigths': did you mean weights"),
    "radius": ("columns: {age: {reach: 1}}", LoadError, "the key 'radius' is missing"),
    "negative": ("radius: 1\ncolumns: {age: {reach: -1}}", LoadError, "columns, age, reach is -1"),
    "nan": ("radius: .nan\ncolumns: {age: {reach: 1}}", LoadError, "radius is nan"),
    "type": ("radius: 1\ncolumns: {age: {reach: far}}", LoadError, "columns, age, reach is 'far'"),
    "direction": ("radius: 1\ncolumns: {age: {direction: sideways}}", LoadError, "direction is 'sideways': give both, up, down or none"),
    "no columns": ("radius: 1\ncolumns: {}", LoadError, "columns is {}"),
    "twice": ("radius: 1\ncolumns:\n  age: {reach: 1}\n  age: {reach: 2}", LoadError, "the key 'age' is given twice"),
    "list": ("- 1", LoadError, "expected keys and values .*got list"),
    "empty": ("", LoadError, "is empty"),
    "yaml": ("radius: [", LoadError, "not valid YAML"),
    "code": ("radius: !!python/object/apply:os.getcwd []\ncolumns: {age: {}}", LoadError, "not valid YAML: could not determine a constructor"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_say_what_to_do(case, tmp_path):
    content, kind, sentence = WRONG[case]
    with pytest.raises(kind, match=sentence):
        read_rules(write(tmp_path, content))


def test_names_and_paths_that_are_not_there(tmp_path):
    with pytest.raises(UnknownName, match="did you mean breast-cancer"):
        read_rules("brest-cancer")
    with pytest.raises(LoadError, match="does not exist"):
        read_rules(tmp_path / "no.yaml")
    with pytest.raises(LoadError, match="cannot be read"):
        read_rules(tmp_path)


class TestBreastCancer:
    def test_reach_and_cost_are_the_stated_share_of_the_training_spread(self):
        data = load("breast-cancer", split="train")
        spread = dict(zip(data.domain.names, data.x.numpy().std(0), strict=True))
        rules = {rule.column: rule for rule in read_rules("breast-cancer").rules}
        assert set(rules) == set(spread)
        for name, rule in rules.items():
            if "texture" in name:
                assert rule.direction == "none"
            else:
                assert rule.reach == pytest.approx(0.3 * spread[name], rel=1e-3)
                assert rule.cost == pytest.approx(1 / spread[name], rel=1e-3)

    def test_relations_are_true_of_every_row(self):
        data = load("breast-cancer", split="all")
        place = {name: number for number, name in enumerate(data.domain.names)}
        relations = read_rules("breast-cancer").relations
        assert len(relations) == 12
        for relation in relations:
            left = sum(weight * data.x[:, place[name]] for name, weight in relation.weights.items())
            assert bool((left <= relation.bound).all()), str(relation)

    def test_the_forest_loses_something_but_not_all(self):
        data = load("breast-cancer")
        victim = load_model("zoo:breast-cancer-forest", data)
        rules = read_rules("breast-cancer")
        points = everything("attack")["coordinate"](victim, data.x, data.y, Threat(rules, Untargeted()), restarts=1)
        assert bool(rules.around(data.x, data.domain).inside(points).all())
        clean, robust = ((victim.label(x) == data.y).double().mean().item() for x in (data.x, points))
        assert clean > 0.94
        assert 0.7 < robust < 0.87
        moved = points - data.x
        texture = torch.tensor(["texture" in name for name in data.domain.names])
        assert not bool(moved[:, texture].any())


def test_the_example_of_the_documents_is_a_rule_file(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
    (tmp_path / "rules.yaml").write_text(page.split("```yaml")[1].split("\n", 1)[1].split("```")[0])
    rules = sp.rules(tmp_path / "rules.yaml").space
    assert [rule.column for rule in rules.rules] == ["amount", "duration", "purpose", "telephone"]
    assert rules.relations[0].repair == "amount"
    assert len(rules.one_hot[0]) == 3
