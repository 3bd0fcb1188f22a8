"""A broken plugin costs a warning of one sentence that names it and the cause, and nothing else."""

import sys
import textwrap
import warnings
from importlib.metadata import EntryPoint

import pytest

from sparring.core import registry
from sparring.core.errors import PluginWarning
from sparring.core.registry import everything, find

SOUND = """
from sparring.attacks.attack import attack

@attack(needs={"labels"}, cites="nobody")
def sound(problem):
    "Return the clean inputs."
    return problem.best()
"""

ATTACK = "from sparring.attacks.attack import attack\n"

BROKEN = {
    "a package that is missing": ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
    "no Python": ("def (", "SyntaxError: invalid syntax"),
    "leaves the program": ("raise SystemExit(3)", "SystemExit: 3"),
    "fails without a word": ("assert False", "AssertionError: no reason given"),
    "fails in two lines": ("raise RuntimeError('one\\ntwo')", "RuntimeError: one two"),
    "registers nothing": ("x = 1", "registers nothing: name the module or package whose decorators register things"),
    "a name of ours": (
        f"{ATTACK}@attack(needs=set())\ndef pgd(problem): ...",
        "ValueError: two attacks are called 'pgd', one in sparring.attacks.evasion.gradient.pgd and one in plug",
    ),
    "a verifier's name of ours": (
        "import sparring.certification.networks.verifiers.ibp\n"
        "from sparring.certification.networks.verifier import verifier\n@verifier('ibp', order=1, cites='')\ndef ibp(state): ...",
        "ValueError: two verifiers are called 'ibp', one in sparring.certification.networks.verifiers.ibp and one in plug",
    ),
    "an attack without a problem": (
        f"{ATTACK}@attack(needs=set())\ndef wrong(): ...",
        "TypeError: @attack on wrong(): it is called with (problem, **settings): take problem first, then settings with defaults",
    ),
    "a setting without a default": (
        f"{ATTACK}@attack(needs=set())\ndef wrong(problem, *, steps): ...",
        "TypeError: @attack on wrong(problem, *, steps): steps has no default: give it one, such as steps=10",
    ),
    "a method": (
        "from sparring.attacks.method import method\n@method(aim='poisoning', cites='')\ndef wrong(): ...",
        "TypeError: @method on wrong(): it is called with (subject, **settings)",
    ),
    "a metric": (
        "from sparring.metrics.metric import metric\n@metric('wrong')\ndef wrong(): ...",
        "TypeError: @metric on wrong(): it is called with (rows, **settings)",
    ),
    "a verifier": (
        "from sparring.certification.networks.verifier import verifier\n@verifier('wrong', order=1, cites='')\ndef wrong(state, limit): ...",
        "TypeError: @verifier on wrong(state, limit): limit has no default",
    ),
    "a certifier": (
        "from sparring.certification.certifier import certifier\n@certifier('wrong', lambda victim, threat: '', cites='')\ndef wrong(victim, x, y): ...",
        "TypeError: @certifier on wrong(victim, x, y): it is called with (victim, x, y, threat, rng, **settings)",
    ),
    "a section": (
        "from sparring.report.section import section\n@section(order=1, title='Wrong')\ndef wrong(): ...",
        "TypeError: @section on wrong(): it is called with (view): take view first",
    ),
    "an aim": (
        "from sparring.aims.aim import aim\n@aim('wrong', unit='sample', baseline='clean', metric='x')\ndef wrong(request): ...",
        "unexpected keyword argument 'metric'",
    ),
    "a recipe that is no dataclass": (
        "from sparring.defences.training.recipe import recipe\n@recipe('wrong', cites='')\nclass Wrong: ...",
        "TypeError: @recipe on Wrong: it is no dataclass: put @dataclass(frozen=True) between them",
    ),
    "a recipe with a setting without a default": (
        "from dataclasses import dataclass\nfrom sparring.defences.training.recipe import recipe\n"
        "@recipe('wrong', cites='')\n@dataclass(frozen=True)\nclass Wrong:\n    weight: float",
        "TypeError: @recipe on Wrong: weight has no default: give it one, such as weight: float = 1.0",
    ),
    "a setting that every attack has": (
        f"{ATTACK}@attack(needs=set())\ndef wrong(problem, *, batch=3): ...",
        "TypeError: @attack on wrong(problem, *, batch=3): batch means something else where settings are given: rename it",
    ),
    "a setting that every training has": (
        "from dataclasses import dataclass\nfrom sparring.defences.training.recipe import recipe\n"
        "@recipe('wrong', cites='')\n@dataclass(frozen=True)\nclass Wrong:\n    epochs: int = 1",
        "TypeError: @recipe on Wrong: epochs means something else where settings are given: rename it",
    ),
    "a space that calls itself otherwise": (
        "from sparring.core.registry import register\nfrom sparring.threats.balls import Linf\n@register('space', 'wrong')\nclass Wrong(Linf): ...",
        "TypeError: the space 'wrong' calls itself 'linf', by which records would name it: set kind = 'wrong' in Wrong",
    ),
    "half a task": (
        "from sparring.core.registry import register\nfrom sparring.core.task import Task\n"
        "@register('task', 'wrong')\nclass Wrong(Task):\n    def describe(self): ...\n    def answer(self, scores): ...",
        "TypeError: the task 'wrong' lacks __str__, answered, check,",
    ),
    "a kind that nobody knows": (
        "from sparring.core.registry import register\n@register('atack', 'wrong')\nclass Wrong: ...",
        "UnknownName: unknown kind 'atack': did you mean attack or",
    ),
}
"""From what is wrong to the text of a plugin and the words that the warning must hold."""


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """Installs modules, given by their text, as plugins of their own names, into a registry that is put back afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    for kind in registry.ROOMS:
        everything(kind)
    monkeypatch.setattr(registry, "_things", {kind: dict(things) for kind, things in registry._things.items()})
    monkeypatch.setattr(registry, "_walked", set(registry._walked))
    before = set(sys.modules)

    def install(*points, **texts):
        for path, text in texts.items():
            file = tmp_path / f"{path.replace('.', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text))
        registry._walked.discard("plugins")
        monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint(name, value, group) for name, value in points])

    yield install
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("plug", "beside", "other"):
            del sys.modules[name]


def asked(kind="attack"):
    """What is registered, and the warnings that were given meanwhile."""
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        found = everything(kind)
    assert all(issubclass(one.category, PluginWarning) for one in given), given
    return found, [str(one.message) for one in given]


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_plugin(what, plugins):
    """One warning; what is ours is there as before; a plugin beside it works; nothing half registered; said once."""
    text, cause = BROKEN[what]
    ours = find("attack", "pgd"), set(everything("attack"))
    plugins(("mine", "plug"), ("beside", "beside"), plug=f"{SOUND.replace('sound', 'half')}\n{text}" if "register" not in what else text, beside=SOUND)
    found, (warning,) = asked()
    assert warning.startswith("the plugin mine (plug) ")
    assert cause in warning
    assert "\n" not in warning
    assert (found["pgd"], set(found)) == (ours[0], ours[1] | {"sound"})
    assert asked() == (found, [])
    for kind in registry.ROOMS:
        assert "wrong" not in everything(kind)


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("nowhere", "No module named 'nowhere'"),
        ("plug.nowhere", "No module named 'plug.nowhere'"),
        ("plug:nothing", "module 'plug' has no attribute 'nothing'"),
        ("no module!", "it names no module"),
        ("", "it names no module"),
    ],
)
def test_an_entry_point_to_nothing(value, cause, plugins):
    plugins(("mine", value), ("beside", "beside"), plug="", beside=SOUND)
    found, (warning,) = asked()
    assert warning.startswith(f"the plugin mine ({value}) cannot be loaded: ")
    assert cause in warning
    assert "sound" in found


def test_the_sound_modules_of_a_plugin_work(plugins):
    """A package of which one module, or one subpackage, fails; the others are in use, and a program in it is not run."""
    plugins(
        ("mine", "plug"),
        **{
            "plug.__init__": "",
            "plug.__main__": "raise SystemExit('run')",
            "plug.good": SOUND,
            "plug.bad": "import no_such_package",
            "plug.inner.__init__": "",
            "plug.inner.deep": SOUND.replace("sound", "deep"),
            "plug.worse.__init__": "1 / 0",
            "plug.worse.deep": SOUND.replace("sound", "hidden"),
        },
    )
    found, (warning,) = asked()
    assert warning == (
        "the plugin mine (plug) cannot be loaded: plug.bad: ModuleNotFoundError: No module named 'no_such_package' (and 1 more of its modules): "
        "its other modules are in use; fix it or uninstall it"
    )
    assert {"sound", "deep"} <= set(found)
    assert "hidden" not in found


def test_what_was_imported_before_its_registry_was_asked_counts(plugins):
    """A plugin that the user has imported by hand has registered its things already."""
    plugins(("mine", "plug"), plug=SOUND)
    __import__("plug")
    assert asked()[1] == []
    assert "sound" in everything("attack")


def test_ours_stays_where_the_plugin_comes_first(plugins, monkeypatch):
    """Verifiers lie in a room that is walked only when they are asked for, after the plugins; the verdict is the same."""
    ours = find("verifier", "ibp")
    plugins(
        ("mine", "plug"),
        plug="from sparring.certification.networks.verifier import verifier\n@verifier('ibp', order=1, cites='')\ndef fake(state):\n    'Prove nothing.'\n",
    )
    del registry._things["verifier"]["ibp"]
    asked()
    assert registry._things["verifier"]["ibp"].run.__module__ == "plug"
    with pytest.warns(PluginWarning, match=r"^the verifier 'ibp' of plug is left out, as one of Sparring's has that name: rename it$"):
        registry.register("verifier", "ibp")(ours)
    assert find("verifier", "ibp") is ours


def test_a_plugin_takes_no_alias_away(plugins):
    """The set of ours keeps its short name."""
    from sparring.attacks.attack_set import known_sets

    ours = known_sets()["default"]
    plugins(
        ("mine", "plug"),
        plug="from sparring.attacks.attack_set import Entry, attack_set\n"
        "@attack_set('mine-1', aliases=('default', 'mine'))\ndef mine():\n    'Hold one.'\n    return [Entry('pgd')]\n",
    )
    assert asked("set")[1] == []
    with pytest.warns(PluginWarning, match=f"the set mine-1 of plug is not called default, as {ours.name} is"):
        known = known_sets()
    assert known["default"] is ours
    assert known["mine"].name == "mine-1"


def test_entry_points_that_cannot_be_read(plugins, monkeypatch):
    """Then there are no plugins; everything else is there."""
    plugins()

    def fail(group):
        raise TypeError("Pair.__new__() missing 1 required positional argument: 'value'")

    monkeypatch.setattr(registry, "entry_points", fail)
    found, (warning,) = asked()
    assert warning.startswith("no plugin is loaded, because the entry points of the installed packages cannot be read (TypeError: Pair")
    assert "pgd" in found


def test_a_notebook_may_register_again(plugins):
    """A cell that is run twice replaces its own thing."""
    plugins()
    first = type("First", (), {"__module__": "__main__"})
    second = type("Second", (), {"__module__": "__main__"})
    registry.register("space", "mine")(first)
    registry.register("space", "mine")(second)
    assert find("space", "mine") is second


FAILING = """
from sparring.certification.certifier import certifier
from sparring.certification.networks.verifier import verifier
from sparring.data.readers.reader import reader
from sparring.metrics.metric import metric
from sparring.models.adapter import adapter
from sparring.models.callable import CallableVictim

def fail(*any):
    raise RuntimeError("a slip")

@adapter("wrong", fail, order=-1)
class Wrong(CallableVictim):
    "Wrap nothing."

@reader("wrong", fail, files="wrong files", takes=set(), order=-1)
def wrong_reader(path, options):
    "Read nothing."

@certifier("wrong", fail, cites="", order=-1)
def wrong_certifier(victim, x, y, threat, rng, *, seconds=None):
    "Prove nothing."

@verifier("wrong", order=-1, cites="", efforts={"quick": {}})
def wrong_verifier(state):
    "Prove nothing."
    fail()

@verifier("wrong_too", order=-1, cites="", misfit=fail, efforts={"quick": {}})
def wrong_too(state):
    "Prove nothing."

@metric("wrong", task="classes")
def wrong_metric(rows):
    "Return nothing."
    fail()
"""


def test_what_fails_when_it_is_asked_is_left_out(plugins, tmp_path):
    """Predicates, verifiers and metrics of a plugin that fail when a run asks them cost a warning each; the run is as without them."""
    import numpy as np

    import sparring as sp
    from sparring.models.zoo import digits_plain

    def run(folder):
        data = sp.load(tmp_path / "data.npz")
        found = sp.evaluate(sp.victim(digits_plain(), sp.image(8, 8)), data, sp.linf(0.02), ["noise(tries=2)"], out=folder)
        return found.summary()[0]

    digits = sp.load("digits", take=8)
    np.savez(tmp_path / "data.npz", x=digits.x.numpy(), y=digits.y.numpy())
    before = run(tmp_path / "before")
    plugins(("mine", "plug"), plug=FAILING)
    assert asked()[1] == []
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always", PluginWarning)
        after = run(tmp_path / "after")
    told = {str(one.message) for one in given if issubclass(one.category, PluginWarning)}
    failing = ("adapter wrong", "reader of wrong files", "certifier wrong", "verifier wrong", "verifier wrong_too", "metric wrong")
    assert told == {f"the {one} of plug fails and is left out (RuntimeError: a slip): fix the plugin or uninstall it" for one in failing}
    for name in ("clean_accuracy", "robust_accuracy", "certified_accuracy"):
        assert after[name] == before[name]
