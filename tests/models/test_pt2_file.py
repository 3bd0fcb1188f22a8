"""Exported programs: honest ones of many kinds are read, and nothing of a hostile one is left."""

import re

import pytest
import torch
import torch.nn.functional as F
from hostile import programs
from hostile.writer import Writer
from torch import nn

from sparring.core.errors import LoadError
from sparring.models.pt2_expressions import is_arithmetic
from sparring.models.pt2_file import read_pt2
from sparring.models.pt2_operators import _listed, is_pure


class Net(nn.Module):
    """A module made of one function."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


NETS = {
    "convolution": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(36, 10)
    ),
    "transformer": lambda: Net(
        lambda net, x: net.head(net.layer(x.flatten(2).mT).mean(1)),
        layer=nn.TransformerEncoderLayer(1, 1, 8, batch_first=True, activation="gelu"),
        head=nn.Linear(1, 10),
    ),
    "lstm": lambda: Net(lambda net, x: net.head(net.lstm(x[:, 0])[0][:, -1]), lstm=nn.LSTM(8, 6, batch_first=True), head=nn.Linear(6, 10)),
    "shapes": lambda: Net(lambda net, x: x.reshape(x.shape[0], -1).repeat(1, 2)[:, : x.shape[2] + 2] + torch.arange(10) * (x.shape[0] / x.shape[0])),
    "constants": lambda: Net(lambda net, x: x.flatten(1)[:, torch.tensor([3, 1, 2])] * torch.tensor(2.0)),
    "functions": lambda: Net(lambda net, x: F.layer_norm(F.silu(F.interpolate(x, scale_factor=2, mode="bilinear")), (16, 16)).flatten(1)[:, :10].softmax(-1)),
    "several": lambda: Net(
        lambda net, x: {"logits": torch.einsum("bchw,hk->bk", x, net.weight), "other": (x, x.sum())}, weight=nn.Parameter(torch.rand(8, 10))
    ),
    "names": lambda: nn.Sequential(nn.Flatten(), nn.ModuleDict({"a-b": nn.Linear(64, 10)})["a-b"]),
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A folder of hostile programs."""
    folder = tmp_path_factory.mktemp("programs")
    programs.write(Writer(folder))
    return folder


@pytest.mark.filterwarnings("ignore")  # torch.export warns about its own insides
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("decomposed", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NETS)
def test_honest_programs_answer_as_before(tmp_path, name, decomposed, fixed):
    torch.manual_seed(0)
    net, x = NETS[name]().eval(), torch.rand(3, 1, 8, 8)
    sides = {0: torch.export.Dim("n", min=1)}
    program = torch.export.export(net, (x,), dynamic_shapes=None if fixed else (sides,))
    torch.export.save(program.run_decompositions() if decomposed else program, tmp_path / "net.pt2")
    found, expected = (torch.utils._pytree.tree_leaves(one(x)) for one in (read_pt2(tmp_path / "net.pt2").module(), net))
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("from-file", "not part of torch, or reaches beyond its arguments, 'torch.ops.aten.from_file.default'"),
        ("target-torch.ops.aten.add.str", "reaches beyond"),
        ("target-_operator.pow", "reaches beyond"),
        ("name-of-a-value", "an unusual string"),
        ("name-of-the-input", "an unusual string"),
        ("tree-enum", "unusual string under 'in_spec'"),
        ("tree-import", "unusual string under 'in_spec'"),
        ("opaque-object", "as a pickled object"),
        ("custom-object", "as a pickled object"),
        ("weight-pickle", "as a pickled object"),
        ("archive-other-suffix-alone", "does not hold an exported program"),
        ("archive-compiled", "holds compiled code"),
        ("grows-full", "the value extra would take"),
        ("expression-power", "an expression that is not arithmetic"),
        ("weight-expanded", "is said to have the shape"),
        ("range-of-symbols", "unusual string under 'range'"),
        ("archive-legacy-weights", "weights|Weights"),
    ],
)
def test_hostile_programs_are_refused(hostile, kind, sentence):
    with pytest.raises(LoadError, match=sentence):
        read_pt2(hostile / f"pt2--{kind}.pt2")


def test_what_is_dropped_does_no_harm(hostile):
    """Sample inputs, stack traces and unknown members never reach torch: the program without them is the same."""
    x = torch.rand(3, 1, 8, 8)
    expected = read_pt2(hostile / "pt2--honest.pt2").module()(x)
    for name in ("archive-sample-inputs", "metadata", "archive-other-suffix"):
        torch.testing.assert_close(read_pt2(hostile / f"pt2--{name}.pt2").module()(x), expected)


def test_the_list_holds_pure_operators_only():
    """The rule of the list, asked of torch: no storage, stream, class or file among the arguments of what is admitted."""
    for library in ("aten", "prims"):
        for name in _listed()[library]:
            packet = getattr(getattr(torch.ops, library), name, None)
            admitted = [one for one in (packet.overloads() if packet else []) if is_pure(f"torch.ops.{library}.{name}.{one}")]
            for one in admitted:
                assert not re.search("Storage|Stream|__torch__|Dict|Future|file", str(getattr(packet, one)._schema)), (name, one)
    assert not any(
        is_pure(f"torch.ops.aten.{name}.default") for name in ("from_file", "set_", "resize_", "empty", "_cudnn_rnn", "record_stream", "sparse_coo_tensor")
    )
    assert all(is_pure(f"torch.ops.aten.{name}") for name in ("conv2d.padding", "div.Tensor_mode", "relu_.default"))
    assert not is_pure("torch.ops.aten.relu")


@pytest.mark.parametrize(
    "text",
    [
        "s0",
        "2*s77 + 1",
        "Mul(Integer(3), Symbol('s77', positive=True, integer=True))",
        "Max(1, (s0 - 1)//2)",
        "s0**2 < 10",
        "Pow(Symbol('s0'), Integer(2))",
        "L['x'].size()[0] <= 16",
        "Eq(Mod(s0, 2), 0)",
        "-int_oo",
        "u0 >= 0 and u0 <= 5",
    ],
)
def test_arithmetic(text):
    assert is_arithmetic(text)


@pytest.mark.parametrize(
    "text",
    [
        "exec(1)",
        "__import__('os')",
        "s0.__class__",
        "9**9**9",
        "((((2**9)**9)**9)**9)",
        "Pow(9, Pow(9, 9))",
        "s0**s1",
        "1 << 99",
        "f'{s0}'",
        "[s0 for s0 in s1]",
        "lambda: 1",
        "(a := 1)",
        "factorial(9)",
        "L['x'].data",
        "9" * 30,
        "(" * 5000,
        "Symbol(open)",
        "Symbol('s0', evil=print)",
        "size",
        "",
    ],
)
def test_no_arithmetic(text):
    assert not is_arithmetic(text)
