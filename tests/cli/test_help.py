"""Help and lists at the width of a terminal: whole sentences, nothing cut, nothing beyond the edge."""

import pytest

from sparring.cli.listing import KINDS

COMMANDS = ("run", "doctor", "certify", "check-proof", "harden", "ls", "show", "report", "gate", "merge", "new")


@pytest.fixture(params=[80, 120])
def width(request, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param


def test_the_list_of_commands_is_not_cut(spar, width):
    said = spar("--help").out
    assert "..." not in said.split("Commands:")[1]
    listed = [line for line in said.split("Commands:")[1].splitlines() if line.strip()]
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert all(line.endswith(".") and len(line) <= width for line in listed)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_and_is_whole(spar, width, command):
    lines = spar(command, "--help").out.splitlines()
    assert [line for line in lines if len(line) > width] == []
    assert lines[2].strip().endswith(".")
    assert "Examples:" in " ".join(lines)


@pytest.mark.parametrize("word", ["attacks", "checks", "certifiers", "threats", "metrics"])
def test_lists_fit_and_are_whole(spar, width, word):
    import json

    said = spar("ls", word).out
    assert [line for line in said.splitlines() if len(line) > width] == []
    for row in json.loads(spar("ls", word, "--json").out):
        assert row["does"].split()[-1] in said
        assert row.get("cites", "").split("; ")[-1].split()[-1:] == [] or row["cites"].split()[-1] in said
        assert row.get("code", "") in said


@pytest.mark.parametrize("word", KINDS)
def test_every_setting_is_explained(spar, word):
    """Each setting that a list shows has a sentence on what it means."""
    import json

    rows = json.loads(spar("ls", word, "--json").out)
    assert [f"{row['name']}: {name}" for row in rows for name, one in row.get("settings", {}).items() if not one.get("does")] == []


def test_a_setting_is_shown_with_meaning_and_choices(spar, width):
    said = " ".join(spar("ls", "certifiers", "network").out.split())
    assert "Samples decided together." in said
    assert "Choices: bounds, quick, thorough." in said
    assert "Choices: real, float32." in said


def test_the_keys_of_a_plan_fit(spar, width):
    from sparring.bench.plan import Plan

    lines = spar("run", "--keys").out.splitlines()
    assert [line for line in lines if len(line) > width] == []
    assert {line.split()[0] for line in lines if not line.startswith(" ")} == set(Plan.model_fields)
