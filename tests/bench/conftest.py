"""A small plan on the embedded digits, and what two runs are compared by."""

import pytest

from sparring.bench.plan import Plan


def plan_of(**changes):
    """A plan of five batches that takes a fraction of a second, with some keys changed."""
    keys = {
        "model": "zoo:digits-plain",
        "data": "digits",
        "take": 20,
        "threat": "linf 0.1",
        "attacks": ["noise(tries=3)", "fgsm", "square(queries=20)"],
        "batch": 4,
        "certify": "none",
    }
    return Plan.of({**keys, "search": "plain", **changes})


def content(run):
    """The table without what may differ between equal runs."""
    return run.table().drop(columns="seconds").sort_values(["case", "attack", "position"], ignore_index=True)


@pytest.fixture
def small():
    """`plan_of`."""
    return plan_of


@pytest.fixture
def rows():
    """`content`."""
    return content


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The run of the small plan, never interrupted."""
    return plan_of(out=str(tmp_path_factory.mktemp("whole"))).run()
