"""Goals and tasks say in words what they want and what counts as wrong; a report shows the words and knows no goal."""

import pytest
import torch

from sparring.core.registry import everything, find
from sparring.report.wording import goal, wish
from sparring.tasks.classes import Classes
from sparring.tasks.labels import labels
from sparring.tasks.mask import mask
from sparring.tasks.values import Values

SAID = {
    "untargeted": ((), "any answer that counts as wrong", "Any answer that counts as wrong is a success."),
    "targeted": ((3,), "class 3", "Only the answer that the adversary chose is a success: class 3."),
    "erase": (
        (1,),
        "erase class 1 from the mask",
        "A mask in which 99 % or more of the pixels of class 1 are given another class is a success.",
    ),
    "add": (("cat",), "add label cat to the answer", "An answer with label cat, where the truth lacks it, is a success."),
    "away": ((2.5,), "an answer more than 2.5 away from the truth", "An answer that lies more than 2.5 away from the truth in some output is a success."),
    "up": ((2,), "an answer more than 2 above the truth", "An answer that lies more than 2 above the truth in some output is a success."),
    "down": ((2,), "an answer more than 2 below the truth", "An answer that lies more than 2 below the truth in some output is a success."),
    "above": ((200,), "an answer above 200", "An answer that lies above 200 in some output is a success."),
    "below": ((-1,), "an answer below -1", "An answer that lies below -1 in some output is a success."),
}


@pytest.mark.parametrize("name", everything("goal"))
def test_a_goal_tells_itself(name):
    """A wish in a few words and one sentence; goals that other packages add have words of some kind."""
    arguments, words, sentence = SAID.get(name, ((), None, None))
    if words is None:
        pytest.skip(f"{name} is none of ours")
    made = find("goal", name)(*arguments)
    assert (made.wish, made.sentence) == (words, sentence)
    assert made.usual == (name == "untargeted")


def test_a_goal_has_the_words_of_the_task():
    """Erasing a label is told otherwise than erasing a class from a mask; other goals mean the same everywhere."""
    erase = find("goal", "erase")("cat").of(labels(names=["cat", "dog"]))
    assert (erase.wish, erase.sentence) == ("erase label cat from the answer", "An answer without label cat, where the truth has it, is a success.")
    assert erase.describe() == {"kind": "erase", "target": "cat"}
    assert find("goal", "erase")(1).of(mask(2)) == find("goal", "erase")(1)
    assert find("goal", "untargeted")().of(labels(2)) == find("goal", "untargeted")()


def test_targets_in_words():
    targeted = find("goal", "targeted")
    assert targeted("next").wish == "the class after the true one"
    assert targeted("random").wish == "a class drawn at random for each sample"
    assert targeted(torch.tensor([1, 2])).wish == "a class of its own for each sample"


@pytest.mark.parametrize(
    ("task", "clause"),
    [
        (Classes(3), "it is any class but the true one"),
        (mask(2, share=0.8), "fewer than 80 % of the pixels that count are right"),
        (labels(2), "a single label that counts is wrong"),
        (labels(2, share=0.8), "fewer than 80 % of the labels that count are right"),
        (Values(1, 20.0), "it differs from the truth by more than 20"),
        (Values(2, (20.0, 1.5)), "it differs from the truth by more than the tolerance of some output (20, 1.5)"),
        (Values(1), "it differs from the truth by more than the tolerance"),
    ],
)
def test_a_task_says_what_counts_as_wrong(task, clause):
    assert task.mistake == clause


def test_the_report_shows_the_words():
    """What counts as wrong is told for the goal that hangs on it; a usual goal is no news in a sentence about a result."""
    usual = {"kind": "untargeted", "wish": "any answer", "sentence": "Any answer that counts as wrong is a success.", "mistake": "it is late", "usual": True}
    assert goal({"goal": usual}) == "Any answer that counts as wrong is a success. An answer counts as wrong if it is late."
    assert wish({"goal": usual}) == ""
    other = {"kind": "x", "target": 1, "wish": "erase class 1", "sentence": "Class 1 must go.", "mistake": "it is late", "usual": False}
    assert goal({"goal": other}) == "Class 1 must go."
    assert wish({"goal": other}) == "erase class 1"


@pytest.mark.parametrize(
    ("described", "said", "wanted"),
    [
        ({"kind": "untargeted"}, "untargeted", ""),
        ({"kind": "targeted", "target": 3}, "targeted 3", "targeted 3"),
        ({"kind": "targeted", "target": [1, 2]}, "targeted one per sample", "targeted one per sample"),
        ({}, "not stated", ""),
    ],
)
def test_older_records_show_the_goal_as_it_is_written(described, said, wanted):
    assert goal({"goal": described}) == said
    assert wish({"goal": described}) == wanted
