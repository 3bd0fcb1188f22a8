"""Functions as victims: what they return is taken as said, or refused."""

import numpy as np
import pytest

import sparring as sp
from sparring.core.errors import LoadError

DOMAIN = sp.image(2, 2)
X = np.zeros((3, 1, 2, 2), dtype="f4")


@pytest.mark.parametrize(
    ("answer", "given", "said"),
    [
        (np.zeros(3, int), {}, r"torch.int64 \(3,\): .*; where a function returns class numbers, say labels_only=True"),
        (np.array(["cat"] * 3), {"labels_only": True}, r"returned <U3 such as \['cat'\]: return the numbers of the classes"),
    ],
)
def test_answers_that_do_not_fit(answer, given, said):
    victim = sp.victim(lambda batch: answer, DOMAIN, classes=4, **given)
    with pytest.raises(LoadError, match=said):
        victim.label(X)


def test_what_is_no_class_is_no_answer():
    victim = sp.victim(lambda batch: np.array([0, 7, -3]), DOMAIN, classes=4, labels_only=True)
    assert victim.label(X).tolist() == [0, -1, -1]
