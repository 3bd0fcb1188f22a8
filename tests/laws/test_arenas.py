"""Arenas are registered in one way, by whoever brings one."""

import pytest
import support


@pytest.fixture
def empty(monkeypatch):
    """A registry of arenas of its own, into which nothing has been put."""
    arenas = support.Arenas()
    monkeypatch.setattr(support, "ARENAS", arenas)
    return arenas


class Point:
    """An entry point of a plugin whose module registers an arena."""

    def load(self):
        support.arena("visiting", attacks=("noise",), certifiers={})(support.GENERAL["linf"])


def test_a_plugin_brings_an_arena(empty, monkeypatch):
    """It is found like the others, and made once, when it is asked for."""
    asked = []
    monkeypatch.setattr(support, "entry_points", lambda group: (asked.append(group), [Point()])[1])
    assert "visiting" in empty.attacked()
    assert "visiting" not in empty.general()
    assert asked == ["sparring.arenas"]
    assert not empty.made
    assert empty["visiting"].name == "visiting"
    assert empty["visiting"] is empty["visiting"]


def test_two_arenas_of_one_name_are_refused(empty):
    Point().load()
    with pytest.raises(ValueError, match="two arenas are called 'visiting'"):
        Point().load()
