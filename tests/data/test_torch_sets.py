"""Torch data sets and loaders are data: in order, whole, as floats; what cannot be named by position is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

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
        (DataLoader(PAIRS, batch_size=None), "makes no batches because of batch_size=None"),
        (DataLoader(Stream(), num_workers=2), "num_workers=2 of the loader has its own copy of the Stream"),
    ],
    ids=range(10),
)
def test_what_cannot_be_read_gets_a_sentence(source, said):
    with pytest.raises(InputError, match=said):
        sp.Data.of(source, domain=DOMAIN)


DEEP = {"I": np.int32, "I;16": np.uint16, "F": np.float32}


@pytest.mark.parametrize("mode", DEEP)
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_more_than_bytes_are_not_cut_off(mode, channels):
    picture = Picture.fromarray((np.arange(64).reshape(8, 8) * 500).astype(DEEP[mode]))
    assert picture.mode == mode
    with pytest.raises(InputError, match=f"sample 0 is a picture of mode '{mode}', not of bytes: use a transform"):
        sp.Data.of(Items(lambda _: (picture, 0)), domain=sp.image(channels, 8, 8))


def test_a_picture_of_three_by_three_pixels_has_its_channels_last():
    """Where all sides are equal, the shape does not tell."""
    levels = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    found = sp.Data.of(Items(lambda _: (Picture.fromarray(levels), 0)), domain=sp.image(3, 3, 3))
    assert np.array_equal((found.x[0] * 255).round().numpy(), levels.transpose(2, 0, 1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_become_longer_ones_of_the_same_value(dtype):
    short = DATA.x.to(dtype)
    for data in (sp.Data.of(TensorDataset(short, DATA.y), domain=DOMAIN), sp.Data.of(short, DATA.y, DOMAIN)):
        assert data.x.dtype == torch.float32
        assert torch.equal(data.x, short.float())


class Named(Items):
    """A set that knows the names of its classes, as those of torchvision do."""

    def __init__(self, **known):
        super().__init__(lambda place: (DATA.x[place], place % 2))
        vars(self).update(known)


@pytest.mark.parametrize(
    "known", [{"classes": ["dog", "cat"]}, {"class_to_idx": {"cat": 1, "dog": 0}}, {"classes": ["cat", "dog"], "class_to_idx": {"cat": 1, "dog": 0}}]
)
@pytest.mark.parametrize("part", [lambda given: given, lambda given: DataLoader(Subset(given, [1, 2])), lambda given: ConcatDataset([given, given])])
def test_classes_have_the_names_that_the_set_knows(known, part):
    source = part(Named(**known))
    assert sp.Data.of(source, domain=DOMAIN).classes == ["dog", "cat"]
    assert sp.Data.of(source, domain=DOMAIN, classes=["a", "b", "c"]).classes == ["a", "b", "c"]
    assert sp.Data.of(source, domain=DOMAIN, task=sp.tasks.Values(tolerance=1.0)).task.kind == "values"


@pytest.mark.parametrize("known", [{"classes": ["dog"]}, {"classes": 2}, {"class_to_idx": {"cat": 2, "dog": 0}}, {"classes": [0, 1]}])
def test_names_that_do_not_fit_the_labels_are_left_aside(known):
    assert sp.Data.of(Named(**known), domain=DOMAIN).classes == ["0", "1"]


def test_a_network_with_the_same_names_in_another_order_is_refused():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    vars(network)["config"] = SimpleNamespace(id2label={0: "cat", 1: "dog"})
    with pytest.raises(InputError, match="the model has the classes cat, dog, the data dog, cat"):
        sp.evaluate(network, sp.Data.of(Named(classes=["dog", "cat"]), domain=DOMAIN), sp.linf(0.1), out="memory://names")


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
