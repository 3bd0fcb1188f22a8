"""What is counted: functions below a folder that a call enters, each once."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "count_functions.py"
COUNTED = """
import threading


class Thing:
    def method(self):
        return [self.part for _ in range(3)]

    @property
    def part(self):
        return sum(one for one in range(3))

    def unused(self):
        return None


def call():
    worker = threading.Thread(target=lambda: Thing().method())
    worker.start()
    worker.join()
    return Thing().method()


def at_import():
    return 1


VALUE = at_import()
"""


def loaded(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def counted(tmp_path):
    (tmp_path / "counted.py").write_text(COUNTED)
    return tmp_path / "counted.py"


def test_every_function_counts_once(counted):
    """Also in another thread; comprehensions and what is not entered do not count."""
    script, module = loaded("count_functions", SCRIPT), loaded("counted", counted)
    found = script.entered(module.call, counted.parent)
    assert sorted(code.co_qualname for code in found) == ["Thing.method", "Thing.part", "call", "call.<locals>.<lambda>"]


def test_what_is_elsewhere_or_runs_at_import_does_not_count(counted):
    """A folder holds its own functions only, and what a module does when it is loaded is no part of a call."""
    script, module = loaded("count_functions", SCRIPT), loaded("counted", counted)
    assert not script.entered(module.call, counted.parent / "other")
    assert not script.entered(lambda: loaded("counted", counted), counted.parent)
