"""Torch data sets and loaders are data: in order, whole, as floats; what cannot be named by position is refused."""

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import sparring as sp
from sparring.core.errors import InputError
from sparring.data import torch_sets

DATA = sp.load("digits", take=7)
PAIRS = TensorDataset(DATA.x, DATA.y)
DOMAIN = sp.image(8, 8)


class Items(Dataset):
    """What a function makes of each place."""

    def __init__(self, make, count=3):
        self.make, self.count = make, count

    def __len__(self):
        return self.count

    def __getitem__(self, place):
        return self.make(place)


class Stream(IterableDataset):
    def __iter__(self):
        yield from ((DATA.x[place], int(DATA.y[place])) for place in range(7))


@pytest.mark.parametrize(
    "source",
    [PAIRS, DataLoader(PAIRS, batch_size=3), Stream(), DataLoader(Stream(), batch_size=2), Items(lambda place: (DATA.x[place].numpy(), DATA.y[place]), 7)],
    ids=["dataset", "loader", "stream", "loader of a stream", "arrays"],
)
def test_a_set_and_a_loader_are_the_same_data(source):
    before = torch.random.get_rng_state()
    found = sp.Data.of(source, domain=DOMAIN)
    assert torch.equal(found.x, DATA.x)
    assert torch.equal(found.y, DATA.y)
    assert torch.equal(before, torch.random.get_rng_state())
    assert sp.Data.of(source, domain=DOMAIN, take=2).ids == found.ids[:2]


def test_evaluate_takes_a_loader():
    victim = sp.load_model("zoo:digits-plain")
    runs = [
        sp.evaluate(victim, data, sp.linf(0.1), "fgsm", certify="none", self_check=False, out="memory://loader")
        for data in (DataLoader(PAIRS, batch_size=3), (DATA.x, DATA.y))
    ]
    assert runs[0].robust_accuracy == runs[1].robust_accuracy
    assert runs[0].path == runs[1].path


def test_pictures_and_bytes_become_floats():
    levels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    domain = sp.image(3, 4, 4)
    for given in (levels, Picture.fromarray(levels), torch.from_numpy(levels).permute(2, 0, 1)):
        found = sp.Data.of(Items(lambda place, given=given: (given, place)), domain=domain).x
        assert found.dtype == torch.float32
        assert found[1].permute(1, 2, 0).mul(255).round().int().tolist() == levels.tolist()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (DataLoader(PAIRS, shuffle=True), "identified by their position"),
        (DataLoader(PAIRS, drop_last=True, batch_size=2), "drop_last=False"),
        (Items(lambda place: DATA.x[place]), r"not a pair \(x, y\)"),
        (Items(lambda place: {"image": DATA.x[place], "label": 1}), "a dict of image, label"),
        (Items(lambda place: (torch.rand(1, 8, 8), 1)), "differs when it is read twice"),
        (Items(lambda place: (torch.zeros(1, 8, 8 + place), 1)), "resizes all alike"),
        (Items(lambda place: (object(), 1)), "a PIL image"),
        (Items(lambda place: (DATA.x[0], 1), 0), "there are no samples"),
    ],
    ids=range(8),
)
def test_what_cannot_be_read_gets_a_sentence(source, said):
    with pytest.raises(InputError, match=said):
        sp.Data.of(source, domain=DOMAIN)


def test_large_sets_ask_for_take(monkeypatch):
    monkeypatch.setattr(torch_sets, "MOST_BYTES", 5 * 256)
    for source in (PAIRS, DataLoader(PAIRS), Stream()):
        with pytest.raises(InputError, match="take=1000"):
            sp.Data.of(source, domain=DOMAIN)
        assert len(sp.Data.of(source, domain=DOMAIN, take=7)) == 7


def test_the_domain_is_asked_for_and_labels_stand_once():
    with pytest.raises(InputError, match=r"domain=sp\.image"):
        sp.Data.of(PAIRS)
    with pytest.raises(InputError, match="leave out y"):
        sp.Data.of(PAIRS, DATA.y, DOMAIN)
    with pytest.raises(InputError, match="y is missing"):
        sp.Data.of(DATA.x, domain=DOMAIN)
    with pytest.raises(InputError, match="DataLoader"):
        sp.evaluate(sp.load_model("zoo:digits-plain"), 3, sp.linf(0.1))
