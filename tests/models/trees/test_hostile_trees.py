"""Files of trees that lie: refused before a library sees them, and honest ones read as before."""

import json

import numpy as np
import pytest
from hostile import models
from hostile.writer import Writer

from sparring.core.errors import LoadError
from sparring.domains.table import table
from sparring.models.trees.files import open_trees
from sparring.models.trees.rewritten import lightgbm_text, xgboost_json
from sparring.models.trees.structure import DEPTH, check_structure

DOMAIN = table(list("abcd"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of hostile files of trees."""
    made = tmp_path_factory.mktemp("trees")
    writer = Writer(made, ("trees--",))
    models.xgboost(writer)
    models.lightgbm(writer)
    return made


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("xgboost-self-children.json", "ways lead to node"),
        ("xgboost-child-outside.json", "has the child 1000000"),
        ("xgboost-child-2-31.json", "has the child 2147483647"),
        ("xgboost-short-arrays.json", "conditions"),
        ("xgboost-long-arrays.json", "children"),
        ("xgboost-no-nodes.json", "left and"),
        ("xgboost-feature-outside.json", "splits on column 1000000"),
        ("xgboost-feature-negative.json", "splits on column -5"),
        ("xgboost-many-classes.json", "for 1,000,000,000 classes"),
        ("xgboost-many-columns.json", "1000000000 columns"),
        ("xgboost-many-parallel.json", "1000000000 parallel"),
        ("xgboost-places.json", "for class 1000000"),
        ("xgboost-place-negative.json", "for class -1"),
        ("xgboost-nan-conditions.json", "NaN or infinite"),
        ("xgboost-huge-conditions.json", "NaN or infinite"),
        ("xgboost-base-score.json", "100001 base scores"),
        ("xgboost-deep-chain.json", f"more than {DEPTH} levels"),
        ("xgboost-deep-json.json", "nested too deep"),
        ("lightgbm-leaves.txt", "1000000000 leaves"),
        ("lightgbm-outputs.txt", "100000 per round"),
        ("lightgbm-no-outputs.txt", "0 per round"),
        ("lightgbm-self-child.txt", "twice or never"),
        ("lightgbm-child-outside.txt", "has the child 99"),
        ("lightgbm-child-negative.txt", "has the child -99"),
        ("lightgbm-leaf-twice.txt", "twice or never"),
        ("lightgbm-features.txt", "splits on column 99"),
        ("lightgbm-short.txt", "does not hold 3 splits"),
        ("lightgbm-columns.txt", "1000000001 columns"),
        ("lightgbm-nan.txt", "NaN or infinite"),
    ],
)
def test_lies_are_refused(folder, name, sentence):
    with pytest.raises(LoadError, match=sentence):
        open_trees(folder / f"trees--{name}", DOMAIN)


@pytest.mark.parametrize(
    "name",
    [
        "xgboost-honest.json",
        "lightgbm-honest.txt",
        "xgboost-indptr.json",
        "xgboost-sizes.json",
        "xgboost-weights.json",
        "xgboost-default-left.json",
        "lightgbm-sizes.txt",
        "lightgbm-infos.txt",
        "lightgbm-names.txt",
    ],
)
def test_what_decides_nothing_is_written_anew(folder, name):
    """Fields that lie about sizes alone never reach the library: the trees answer as the honest ones."""
    kind = name.split("-")[0]
    honest = next(folder.glob(f"trees--{kind}-honest*"))
    rows = np.random.default_rng(1).random((50, 4))
    found = open_trees(folder / f"trees--{name}", DOMAIN)
    assert found.checked == f"agrees with {kind} on 256 points"
    np.testing.assert_array_equal(found.scores(rows), open_trees(honest, DOMAIN).scores(rows))


def test_structure():
    def checked(feature, left, right, roots=(0,), features=2):
        check_structure(*(np.array(one, dtype=np.int64) for one in (feature, left, right, roots)), features, "it")

    checked([0, -1, -1], [1, -1, -1], [2, -1, -1])
    checked([0, -1, -1, -1], [1, -1, -1, -1], [2, -1, -1, -1], [0, 3])
    checked([0, -1, -1, 1, -1, -1], [1, -1, -1, 4, -1, -1], [2, -1, -1, 5, -1, -1])  # nodes that were pruned away stay behind
    for feature, left, right, sentence in (
        ([0, -1, -1], [0, -1, -1], [2, -1, -1], "ways lead"),
        ([0, -1, -1], [1, -1, -1], [1, -1, -1], "ways lead"),
        ([0, -1, -1], [1, -1, -1], [3, -1, -1], "child 3"),
        ([0, -1, -1], [-1, -1, -1], [2, -1, -1], "child -1"),
        ([2, -1, -1], [1, -1, -1], [2, -1, -1], "column 2"),
        ([-2, -1, -1], [1, -1, -1], [2, -1, -1], "column -2"),
        ([0, -1], [1, -1, -1], [2, -1, -1], "one of each"),
    ):
        with pytest.raises(LoadError, match=sentence):
            checked(feature, left, right)


def test_documents_written_anew_are_those_of_the_libraries(folder):
    """XGBoost and LightGBM answer the same for the honest file and for what is written from it."""
    xgboost, lightgbm = pytest.importorskip("xgboost"), pytest.importorskip("lightgbm")
    from sparring.models.trees import lightgbm_text as text
    from sparring.models.trees import xgboost_json as document

    rows = np.random.default_rng(2).random((100, 4))
    written = (folder / "trees--xgboost-honest.json").read_text()
    answers = []
    for one in (written, xgboost_json(document.parse_model(json.loads(written), "it"))):
        booster = xgboost.Booster()
        booster.load_model(bytearray(one.encode()))
        answers.append(booster.predict(xgboost.DMatrix(rows), output_margin=True))
    np.testing.assert_array_equal(*answers)
    written = (folder / "trees--lightgbm-honest.txt").read_text()
    both = (written, lightgbm_text(text.parse_text(written, "it")))
    np.testing.assert_allclose(*(lightgbm.Booster(model_str=one).predict(rows, raw_score=True) for one in both), rtol=1e-15)
