"""spar harden."""

import json

import pytest
import torch
from safetensors.torch import load_file

from sparring.models.zoo import zoo

TINY = ("model=zoo:digits-plain", "data=digits", "take=120", "threat=linf 0.05", "epochs=2", "batch=40", "rate=0.003", "out=made/robust.safetensors")


def test_weights_are_written_and_the_same_command_has_nothing_left_to_do(spar, folder):
    said = spar("harden", *TINY, "recipe=sabr", "ratio=0.5", "natural=[1, 0.5]", "radius_schedule=0.5", "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert [one["epoch"] for one in told["epochs"]] == [1, 2]
    assert told["epochs"][-1]["radius"] == pytest.approx(0.05)
    written = load_file(folder / "made" / "robust.safetensors")
    before = zoo("digits-plain").build()
    assert written.keys() == before.state_dict().keys()
    before.load_state_dict(written)
    again = spar("harden", *TINY, "recipe=sabr", "ratio=0.5", "natural=[1, 0.5]", "ramp=0.5", "--json")  # the old name of the key
    assert "ramp is now radius_schedule" in again.err
    assert json.loads(again.out)["epochs"] == []
    assert all(torch.equal(written[name], one) for name, one in load_file(folder / "made" / "robust.safetensors").items())


def without(key):
    """The words without one key, which is then given another value: no key may be given twice."""
    return [word for word in TINY if not word.startswith(f"{key}=")]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (TINY[:3], "needs threat=..., out=..."),
        ((*TINY, "recipe=ipb"), "did you mean ibp"),
        ((*TINY, "epoch=3"), "did you mean epochs"),
        ((*without("out"), "out=made.pt"), ".safetensors"),
        ((*without("threat"), "seed=1", "threat=l2 0.1"), "train with linf"),
        (("model=zoo:breast-cancer-forest", "data=breast-cancer", *TINY[3:]), "training needs a torch module"),
    ],
)
def test_wrong_use(spar, folder, words, expected):
    said = spar("harden", *words)
    assert said.code == 2
    assert expected in said.err
    assert not list(folder.rglob("*.safetensors"))
