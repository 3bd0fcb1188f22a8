"""Under a paper's name an attack has the paper's settings; where ours are other ones, the docstring says so."""

import inspect

import pytest

from sparring.attacks.attack_set import known_sets
from sparring.attacks.sets.fast import fast
from sparring.attacks.sets.minimum import minimum
from sparring.core.registry import everything

PAPERS = {
    ("apgd", "steps"): 100,
    ("apgd_t", "targets"): 9,
    ("apgd_l1", "restarts"): 5,
    ("boundary", "steps"): 25000,
    ("boundary", "aside"): 0.01,
    ("boundary", "closer"): 0.01,
    ("brendel_bethge", "steps"): 1000,
    ("cw", "steps"): 9 * 10000,
    ("cw", "turns"): 9,
    ("cw_linf", "cut"): 0.1,
    ("ddn", "steps"): 100,
    ("ddn", "factor"): 0.05,
    ("deepfool", "steps"): 50,
    ("deepfool", "candidates"): 10,
    ("deepfool", "overshoot"): 0.02,
    ("deepfool", "search"): 0,
    ("ead", "steps"): 9 * 1000,
    ("ead", "turns"): 9,
    ("fab", "steps"): 100,
    ("fab", "overshoot"): 0.05,
    ("fab", "bias"): 0.1,
    ("fab", "backward"): 0.9,
    ("fab_t", "targets"): 9,
    ("fmn", "step_size"): 1.0,
    ("fmn", "factor"): 0.05,
    ("genetic", "population"): 6,
    ("hopskipjump", "steps"): 64,
    ("hopskipjump", "probes"): 100,
    ("hopskipjump", "most_probes"): 10000,
    ("md", "steps"): 50,
    ("md", "step_size"): 2.0,
    ("md", "restarts"): 2,
    ("odi", "steps"): 20,
    ("odi", "warmup"): 2,
    ("odi", "restarts"): 20,
    ("odi", "bias"): 0.0,
    ("one_pixel", "generations"): 100,
    ("one_pixel", "population"): 400,
    ("pgd", "steps"): 40,
    ("sigma_zero", "softness"): 0.001,
    ("sigma_zero", "threshold"): 0.3,
    ("sigma_zero", "threshold_step"): 0.01,
    ("simba", "frequencies"): 0.125,
    ("square", "share"): 0.8,
    ("square", "queries"): 5000,
    ("superdeepfool", "search"): 10,
    ("surfree", "widest"): 30.0,
    ("transfer", "steps"): 10,
}
"""Settings of the papers, or of their official code, by attack and setting."""


@pytest.mark.parametrize(("attack", "setting"), PAPERS)
def test_the_default_is_that_of_the_paper(attack, setting):
    assert everything("attack")[attack].defaults[setting] == PAPERS[attack, setting]


@pytest.mark.parametrize("attack", sorted({attack for attack, _ in PAPERS}))
def test_what_differs_is_said(attack):
    """Each of these has a source, and a remark where it differs in more than units."""
    text = inspect.cleandoc(everything("attack")[attack].__doc__ or "")
    assert "\nSource: " in text
    assert "Differs from" in text or attack in ("apgd_t", "md")


def test_tuned_settings_are_spelled_out_in_sets():
    """A changed default changes no verdict of the default cascade."""
    odi = [entry.attack for entry in fast.entries if entry.attack.startswith("odi")]
    assert len(odi) == 2
    assert all("warmup=5" in one and "bias=0.8" in one for one in odi)
    assert {entry.attack.split("(")[0] for entry in minimum.entries} >= {"deepfool", "ddn", "fmn", "cw", "ead"}
    assert known_sets()["minimum"] is minimum
