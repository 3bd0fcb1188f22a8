"""Plans: keys, files, evaluations, and what is stored of them."""

from pathlib import Path

import pytest
import yaml

from sparring.aims.case import Settings
from sparring.bench.plan import OF_THE_RUN, Plan
from sparring.core.errors import PlanError, UsageError

DOCUMENT = Path(__file__).parents[2] / "docs" / "plans.md"


def test_one_or_a_list():
    """A word, words between commas and a list are the same."""
    plans = [
        Plan.of({"model": "m", "threat": threats, "attacks": attacks})
        for threats, attacks in (("linf 0.1, l2 1", "pgd(steps=5, restarts=2), fgsm"), (["linf 0.1", "l2 1"], ["pgd(steps=5, restarts=2)", "fgsm"]))
    ]
    assert plans[0] == plans[1]
    assert plans[0].model == ["m"]


def test_inner_keys_override_the_outer_ones():
    """Each evaluation has the keys outside, and its own where it has them."""
    plan = Plan.of({"data": "digits", "threat": "linf 0.1", "attacks": "fgsm", "evaluations": [{"model": "a"}, {"model": "b", "threat": "l2 1"}]})
    assert [(part.model, part.data, part.threat, part.attacks) for part in plan.parts()] == [
        (["a"], "digits", ["linf 0.1"], ["fgsm"]),
        (["b"], "digits", ["l2 1"], ["fgsm"]),
    ]


@pytest.mark.parametrize("key", OF_THE_RUN)
def test_keys_of_the_run_stay_outside(key):
    """A seed of its own for one evaluation would be passed over in silence: it is refused."""
    plan = Plan.of({"evaluations": [{"model": "a", key: Plan.model_fields[key].default}]})
    with pytest.raises(PlanError, match=f"'{key}' applies to the whole run"):
        list(plan.parts())


def test_a_plan_is_frozen():
    """Nobody writes to it."""
    with pytest.raises(ValueError, match="frozen"):
        Plan.of({}).seed = 3


def test_the_embedded_default_is_sound():
    """It can be read, its cases fit, and the plan stored of it is the same plan."""
    plan = Plan.read(None, {"take": 5})
    names = [case.name for case in plan.cases()]
    assert len(names) == len(set(names)) == 7
    again = Plan.of(plan.resolved())
    assert [case.cells(Settings()) for case in again.cases()] == [case.cells(Settings()) for case in plan.cases()]


def test_cases_of_one_name_get_numbers(tmp_path):
    """The same model and threat on other data are told apart."""
    plan = Plan.of(
        {
            "model": "zoo:digits-plain",
            "threat": "linf 0.1",
            "attacks": "fgsm",
            "evaluations": [{"data": "digits", "take": 4}, {"data": "digits", "split": "train", "take": 4}],
        }
    )
    assert [case.name for case in plan.cases()] == ["digits-plain · linf 0.1 (1)", "digits-plain · linf 0.1 (2)"]


def test_a_named_set_is_stored_by_its_version():
    """`default` may mean something else tomorrow, `fast-1` never."""
    assert Plan.of({"model": "m"}).resolved()["attacks"] == ["fast-1"]
    assert "shard" not in Plan.of({"model": "m"}).resolved()


def test_the_document_names_every_key():
    """docs/plans.md and the plan know the same keys; its example is a plan."""
    text = DOCUMENT.read_text()
    for name in Plan.model_fields:
        assert f"`{name}`" in text or f"`{name}:`" in text, name
    example = text.split("```yaml\n")[1].split("```")[0]
    plan = Plan.of(yaml.safe_load(example))
    assert len(plan.model) * len(plan.threat) == 4


def test_the_example_of_the_document_fits():
    """It can be run as printed."""
    example = DOCUMENT.read_text().split("```yaml\n")[1].split("```")[0]
    assert len(Plan.of({**yaml.safe_load(example), "take": 4}).cases()) == 4


def test_messages_name_key_and_value():
    """What pydantic says comes as one of our errors, in our words."""
    with pytest.raises(UsageError, match=r"plan key 'take' = 'x': give a whole number of at least 0 \(number of samples to evaluate"):
        Plan.of({"take": "x"})


@pytest.mark.parametrize("name", Plan.model_fields)
@pytest.mark.parametrize("value", ["abc", 2.5, {"a": 1}, [1]])
def test_a_wrong_type_is_answered_in_our_words(name, value):
    """No key shows the wording of pydantic."""
    try:
        Plan.of({name: value})
    except PlanError as error:
        told, _, cure = str(error).partition(": give ")
        assert told == f"plan key {name!r} = {value!r}"
        assert cure.startswith(("a string", "a whole number", "a number", "True or False", "a list of mappings"))
        assert "input should" not in cure
