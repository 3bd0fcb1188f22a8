"""Completes the words of the command line in a shell: keys of a plan, and the values that are known for them."""

import ast
import contextlib
import functools
import io
import os
import shlex
from collections.abc import Callable
from pathlib import Path

from sparring.cli.known import names_of

BREAKS = "=:"
"""Characters at which bash divides a word, of which it then replaces the last part only."""

NAMES: dict[str, tuple[str, ...]] = {
    "aim": ("aim",),
    "model": ("model",),
    "data": ("dataset",),
    "task": ("task",),
    "threat": ("space", "tampering"),
    "goal": ("goal",),
    "attacks": ("set", "attack", "method"),
    "fit": ("fit",),
    "certify": ("certifier",),
    "gate": ("metric",),
    "recipe": ("recipe",),
}
"""Keys whose values are names of registered things, by the kinds of these things."""

WORDS: dict[str, tuple[str, ...]] = {
    "search": ("fast", "bfloat16", "plain"),
    "layout": ("channels first", "channels last"),
    "split": ("train", "test", "all"),
    "deployed": ("float", "8bit"),
    "access": ("gradients", "scores", "labels"),
    "attacks": ("default",),
    "certify": ("default", "none"),
    "points": ("none", "gallery", "all"),
    **dict.fromkeys(("smallest", "cascade", "self_check", "fresh"), ("true", "false")),
}
"""Keys that take one of a few words."""

FILES = ("model", "weights", "data", "out")
"""Keys that take a path."""

LISTS = ("model", "threat", "attacks", "certify", "fit", "gate")
"""Keys that take several values, divided by commas."""


@functools.cache
def plan_keys() -> dict[str, str]:
    """Return the keys of a plan and what they mean.

    They are read from its source, because importing it would make the shell wait.
    """
    source = (Path(__file__).parents[1] / "bench" / "plan.py").read_text()
    (plan,) = (one for one in ast.parse(source).body if isinstance(one, ast.ClassDef) and one.name == "Plan")
    found: dict[str, str] = {}
    for line in plan.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(line.value, ast.Call):
            described = [one.value for one in line.value.keywords if one.arg == "description"]
            found[line.target.id] = ast.literal_eval(described[0])
    return found


def complete_plan(incomplete: str) -> list[tuple[str, str]]:
    """Return the words of a plan that begin so, each with its meaning."""
    return complete_keys(incomplete, plan_keys())


def complete_keys(incomplete: str, keys: dict[str, str]) -> list[tuple[str, str]]:
    """Return the words key=value that begin so, for some keys."""
    key, given, value = incomplete.partition("=")
    if not given:
        files = [(path, "a plan") for path in _paths(incomplete) if path.endswith((".yaml", ".yml", "/"))]
        return [(f"{name}=", meaning) for name, meaning in keys.items() if name.startswith(incomplete)] + (files if incomplete else [])
    head, comma, last = value.rpartition(",") if key in LISTS else ("", "", value)
    begun = f"{key}={head}{comma}"
    return [(f"{begun}{one}", "") for one in values_of(key, last) if one.startswith(last)] if key in keys else []


def values_of(key: str, begun: str = "") -> list[str]:
    """Return what is known to stand behind a key; paths only that begin as given."""
    prefix = "zoo:" if key == "model" else ""
    names = [f"{prefix}{name}" for kind in NAMES.get(key, ()) for name in names_of(kind)]
    return list(dict.fromkeys([*WORDS.get(key, ()), *names, *(_paths(begun) if key in FILES and begun else ())]))


def complete_models(incomplete: str) -> list[str]:
    """Return models of the zoo and files that begin so."""
    return [one for one in values_of("model", incomplete) if one.startswith(incomplete)]


def complete_runs(incomplete: str) -> list[str]:
    """Return "last", the runs under the folder runs, and paths that begin so."""
    runs = sorted(path.parent.name for path in Path("runs").glob("*/run.json"))
    return [one for one in ["last", *filter(str.isprintable, runs), *_paths(incomplete)] if one.startswith(incomplete)]


def _paths(begun: str) -> list[str]:
    """Files and folders whose path begins so; none without a beginning."""
    folder, _, name = begun.rpartition("/")
    place = Path(f"{folder}/" if begun.startswith("/") or folder else ".")
    if not begun or not place.is_dir():
        return []
    found = sorted(one for one in place.iterdir() if one.name.startswith(name) and one.name.isprintable())
    return [f"{begun[: len(begun) - len(name)]}{one.name}{'/' if one.is_dir() else ''}" for one in found]


def joined(words: list[str], place: int) -> tuple[list[str], int]:
    """Return the words as they were typed, and the place of the current one.

    Bash divides words at `=` and `:`.

    >>> joined(["spar", "run", "model", "=", "zoo", ":", "di"], 6)
    (['spar', 'run', 'model=zoo:di'], 2)
    """
    found: list[str] = []
    current = len(words)
    for position, word in enumerate(words[: place + 1]):
        if found and position > 1 and (word in BREAKS or found[-1][-1:] in BREAKS):
            found[-1] += word
        else:
            found.append(word)
        current = len(found) - 1
    return (found, current) if place < len(words) else (found, len(found))


def in_bash(run: Callable[[], object]) -> None:
    """Run the completion for bash with whole words, and print what bash is to put in.

    Bash divides `model=zoo:di` into five words and replaces the last of them.
    """
    try:
        words = shlex.split(os.environ["COMP_WORDS"])
    except ValueError:  # a quote that is not closed yet
        words = os.environ["COMP_WORDS"].split()
    whole, place = joined(words, int(os.environ["COMP_CWORD"]))
    typed = whole[place] if place < len(whole) else ""
    cut = max(typed.rfind(one) for one in BREAKS) + 1
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = shlex.join(whole), str(place)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            run()
    finally:
        lines = [line[cut:] if line.startswith(typed[:cut]) else line for line in said.getvalue().splitlines()]
        print("\n".join(lines))
