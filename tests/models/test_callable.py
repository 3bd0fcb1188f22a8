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
        (np.array([0, 7, 1]), {"labels_only": True}, "answered class 7, but has 4 classes"),
    ],
)
def test_answers_that_do_not_fit(answer, given, said):
    victim = sp.victim(lambda batch: answer, DOMAIN, classes=4, **given)
    with pytest.raises(LoadError, match=said):
        victim.label(X)
