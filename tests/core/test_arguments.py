"""Wrong types in the arguments of public functions are answered with a sentence, never with a traceback from inside."""

import functools
import inspect
import math

import numpy as np
import pytest
import torch

import sparring as sp
from sparring.core.errors import InputError, UsageError

WRONG = {"none": None, "a word": "a", "a fraction": 1.5, "negative": -1, "a list": [1], "a mapping": {"a": 1}, "an object": object(), "true": True}
"""One value of each kind; those that fit a parameter are left out where it is tried."""


@functools.cache
def digits():
    return sp.load("digits", take=4)


@functools.cache
def model():
    return sp.load_model("zoo:digits-plain")


def nouns(victim="victim", data=None):
    """The nouns of most calls."""
    plain = {"data": digits()} if data is None else {"x": digits().x, "y": digits().y}
    return {victim: model(), **plain, "threat": sp.linf(0.1)}


CALLS = {
    "evaluate": lambda: (sp.evaluate, {**nouns(), "attacks": ["fgsm"], "certify": "none", "self_check": False, "out": "memory://arguments"}),
    "doctor": lambda: (sp.doctor, nouns()),
    "reevaluate": lambda: (sp.reevaluate, nouns()),
    "certify": lambda: (sp.certify, nouns(data="apart")),
    "certified_radius": lambda: (sp.certified_radius, nouns(data="apart")),
    "corruption_error": lambda: (sp.corruption_error, {"victim": model(), "data": digits()}),
    "transfer_matrix": lambda: (sp.transfer_matrix, {"sources": [model()], "targets": [model()], "data": digits(), "threat": sp.linf(0.1)}),
    "harden": lambda: (sp.harden, nouns("module")),
    "load": lambda: (sp.load, {"source": "digits"}),
    "load_model": lambda: (sp.load_model, {"ref": "zoo:digits-plain"}),
    "eot": lambda: (sp.eot, {"victim": model()}),
    "bpda": lambda: (sp.bpda, {"victim": model(), "module_name": "layers.1"}),
    "smoothed": lambda: (sp.smoothed, {"victim": model()}),
    "band_vote": lambda: (sp.band_vote, {"victim": model()}),
    "patch_cleanser": lambda: (sp.patch_cleanser, {"victim": model(), "patch": 2, "masks": 3}),
    "transfer": lambda: (sp.transfer, {"surrogates": model()}),
    "substitute": lambda: (sp.substitute, {"victim": model(), "seed_data": digits()}),
    "universal": lambda: (sp.universal, nouns(data="apart")),
    "generator": lambda: (sp.generator, nouns("surrogate", data="apart")),
    "reinforce": lambda: (sp.reinforce, nouns(data="apart")),
    "image": lambda: (sp.image, {"channels": 8, "height": 8}),
    "table": lambda: (sp.table, {"columns": ["a"]}),
    "linf": lambda: (sp.linf, {"radius": 0.1}),
    "l0": lambda: (sp.l0, {"count": 3}),
    "patch": lambda: (sp.patch, {"side": 2}),
    "corruptions": lambda: (sp.corruptions, {"severity": 3}),
    "spatial": lambda: (sp.spatial, {"degrees": 30, "shift": 0.1}),
    "words": lambda: (sp.words, {"share": 0.2, "neighbours": {"a": ("b",)}}),
    "rules": lambda: (sp.rules, {"source": "breast-cancer"}),
    "gaussian": lambda: (sp.gaussian, {"sigma": 0.1}),
    "ablation": lambda: (sp.ablation, {"keep": 3}),
    "Threat": lambda: (sp.Threat, {"space": sp.linf(0.1).space, "goal": sp.Untargeted()}),
    "Threat.seeing": lambda: (sp.linf(0.1).seeing, {"access": "labels"}),
    "Threat.within": lambda: (sp.linf(0.1).within, {"queries": 3}),
    "Threat.targeted": lambda: (sp.linf(0.1).targeted, {"target": 3}),
    "Data.of": lambda: (sp.Data.of, {"x": digits().x, "y": digits().y, "domain": digits().domain}),
    "Data.take": lambda: (digits().take, {"count": 2}),
    "Run.open": lambda: (sp.Run.open, {"url": "nosuch"}),
    "pgd": lambda: (sp.attacks.pgd, nouns(data="apart")),
}
"""From the name of a public function to the function and to arguments that fit."""

FITTING = {bool: {"true"}, int: set(), float: {"a fraction", "negative"}, str: {"a word"}}
"""Values of `WRONG` that have the type of a default."""

ALSO_NONE = {("doctor", "deep"), ("harden", "clip")}
"""Parameters that have a default other than None and take None too."""


def tried(name, function):
    """Each parameter whose default tells its type, with each value that has another one."""
    for parameter in inspect.signature(function).parameters.values():
        kinds = FITTING.get(type(parameter.default))
        if kinds is not None:
            yield from ((parameter.name, what) for what in WRONG if what not in kinds and not (what == "none" and (name, parameter.name) in ALSO_NONE))
        elif parameter.default is inspect.Parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            yield parameter.name, "an object"


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_type(name):
    """Each wrong type of each argument is an error of ours, before anything is computed."""
    function, fitting = CALLS[name]()
    slips = []
    for parameter, what in tried(name, function):
        try:
            function(**{**fitting, parameter: WRONG[what]})
        except UsageError:
            continue
        except Exception as error:
            slips.append(f"{parameter} {what}: {type(error).__name__}: {error}")
        else:
            slips.append(f"{parameter} {what}: accepted")
    assert not slips


VALUES = {
    "seed a word": (lambda: sp.evaluate(model(), digits(), sp.linf(0.1), seed="a"), "evaluate(seed='a'): give a whole number of at least 0"),
    "severity beyond 5": (lambda: sp.corruptions(7), "severity is 7: give a number up to 5"),
    "take nothing": (lambda: digits().take(0), "take=0: give a whole number of at least 1"),
    "take less than nothing": (lambda: sp.load("digits", take=-1), "load(take=-1): give a whole number of at least 0"),
    "threat a number": (lambda: sp.evaluate(model(), digits(), 3), "give a threat with this radius, such as sp.linf(3)"),
    "threat a word": (lambda: sp.evaluate(model(), digits(), "linf"), "the threat is 'linf': give sp.linf(0.1)"),
    "radius true": (lambda: sp.linf(0.1).at(True), "radius is True: give a number"),
    "share beyond 1": (lambda: sp.words(2, {"a": ("b",)}), "share is 2: give the share"),
    "size of a mask a number": (lambda: sp.tasks.Mask(2, size=3), "size=3: give the height and the width of a mask"),
    "size of a mask of three": (lambda: sp.tasks.Mask(2, size=(3, 3, 3)), "size=(3, 3, 3): give the height"),
    "gradient of a word": (lambda: model().gradient(digits().x, "ce"), "gradient got 'ce': give a function of the scores"),
    "radii of words": (lambda: sp.linf(["a"]), "linf(radius=['a']): give a number, or a list of one number per sample"),
    "radii in two dimensions": (lambda: sp.l2([[0.1], [0.2]]), "radius has shape (2, 1)"),
    "setting of a task": (lambda: sp.load("digits", task="labels(5, threshhold=0.3)"), "unknown setting of labels 'threshhold': did you mean threshold?"),
    "target negative": (lambda: sp.Targeted(-1), "target -1: give a class"),
    "rows beyond the data": (lambda: digits().rows([9]), "rows [9]: give a list of positions, 0 to 3"),
    "unknown field of data": (lambda: sp.Data.of(digits().x, digits().y, digits().domain, license="MIT"), "argument of Data.of"),
    "unknown setting of a victim": (lambda: sp.victim(torch.nn.Linear(2, 2), sp.table(["a", "b"]), preprocessing=3), "setting of TorchVictim"),
    "setting a word": (lambda: sp.attacks.pgd(model(), digits().x, digits().y, sp.linf(0.1), random_start="no"), "give True or False"),
    "budget a word": (lambda: sp.linf(0.1).within(queries="many"), "budget queries='many': give a whole number of at least 0"),
    "budget a fraction": (lambda: sp.linf(0.1).within(steps=1.5), "budget steps=1.5: give a whole number"),
    "batch not a number": (lambda: sp.evaluate(model(), digits(), sp.linf(0.1), batch=math.nan), "give a whole number"),
}


@pytest.mark.parametrize("what", VALUES)
def test_the_sentence(what):
    """The message holds the value and the cure."""
    call, fragment = VALUES[what]
    with pytest.raises(UsageError) as caught:
        call()
    assert fragment in str(caught.value)


def test_numbers_of_numpy_are_numbers():
    """A scalar of NumPy stands for a Python number."""
    assert sp.load("digits", take=np.int64(3)).ids == sp.load("digits", take=3).ids
    assert sp.linf(np.float32(0.5)) == sp.linf(0.5)


def test_radii_may_be_lists_or_arrays():
    for radii in ([0.1, 0.2], (0.1, 0.2), np.array([0.1, 0.2], dtype=np.float32)):
        assert sp.linf(radii).space.radius.tolist() == pytest.approx([0.1, 0.2])


def test_dir_of_errors_lists_errors_only():
    """What is listed is a class of errors."""
    listed = dir(sp.errors)
    assert "InputError" in listed
    assert all(issubclass(getattr(sp.errors, name), sp.errors.SparringError) for name in listed)


def test_size_of_a_mask_may_be_a_list():
    """It is kept as a pair."""
    assert sp.tasks.Mask(2, size=[4, 6]).size == (4, 6)
    with pytest.raises(InputError):
        sp.tasks.Mask(2, size=(0, 4))
