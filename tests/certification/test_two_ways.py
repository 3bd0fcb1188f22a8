"""Two ways to one answer: files of two kinds, the command and its parts, a search and a solver."""

import grown_trees as grown
import numpy as np
import onnx
import pytest
import torch
from certification.networks.varied_networks import drawn
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from sparring.certification.certificate import Verdict
from sparring.certification.certify import certify
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.decide import decide
from sparring.certification.networks.portfolio import at_effort
from sparring.certification.networks.query import Query
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.domains.table import Column, Table
from sparring.graph.from_onnx import from_onnx
from sparring.graph.from_torch import from_torch
from sparring.models.onnx import OnnxVictim
from sparring.models.torch import TorchVictim
from sparring.models.trees.files import TreeVictim
from sparring.models.trees.xgboost_json import read_dump
from sparring.threats.balls import L1, L2, Linf
from sparring.threats.goals import Targeted, Untargeted

IMAGES = Image((1, 4, 4))


def weights(seed):
    return {
        "w": drawn(seed, 3, 1, 3, 3),
        "b": drawn(seed + 1, 3),
        "scale": 1 + drawn(seed + 2, 3, scale=0.2),
        "shift": drawn(seed + 3, 3),
        "mean": drawn(seed + 4, 3),
        "variance": 1 + drawn(seed + 5, 3).abs(),
        "v": drawn(seed + 6, 3, 12),
        "c": drawn(seed + 7, 3),
    }


def module(given):
    """conv, batch norm, relu, linear."""
    made = nn.Sequential(nn.Conv2d(1, 3, 3, stride=2, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3))
    own = [made[0].weight, made[0].bias, made[1].weight, made[1].bias, made[1].running_mean, made[1].running_var, made[4].weight, made[4].bias]
    with torch.no_grad():
        for tensor, value in zip(own, given.values(), strict=True):
            tensor.copy_(value)
    return made


def file(given):
    """The same, written node by node."""
    kept = [numpy_helper.from_array(value.float().numpy(), name) for name, value in given.items()]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["1", "scale", "shift", "mean", "variance"], ["2"], epsilon=1e-5),
        helper.make_node("Relu", ["2"], ["3"]),
        helper.make_node("Flatten", ["3"], ["4"]),
        helper.make_node("Gemm", ["4", "v", "c"], ["y"], transB=1),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", ["n", 1, 4, 4]), ("y", ["n", 3]))]
    graph = helper.make_graph(nodes, "small", ends[:1], ends[1:], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


@pytest.mark.parametrize("seed", range(3))
def test_a_module_and_a_file_are_one_network(seed, tmp_path):
    given = weights(seed)
    path = tmp_path / "small.onnx"
    path.write_bytes(file(given))
    onnx.checker.check_model(str(path))
    one, other = from_torch(module(given), (1, 4, 4)), from_onnx(path)
    x = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(one(x), other(x), rtol=1e-9, atol=1e-9)
    victims = TorchVictim(module(given), IMAGES, search="plain"), OnnxVictim(str(path), IMAGES)
    samples, y = x[:6].float(), one(x[:6]).argmax(1)
    for space in (Linf(0.02), Linf(0.2), L2(0.3), L1(0.5)):
        for goal in (Untargeted(), Targeted(1)):
            if goal.kind == "targeted":
                keep = y != 1
                asked, labels = samples[keep], y[keep]
            else:
                asked, labels = samples, y
            if not len(asked):
                continue
            first, second = (certify(victim, asked, labels, Threat(space, goal), ["network"]) for victim in victims)
            assert [one.verdict for one in first] == [one.verdict for one in second]
            assert [one.method for one in first] == [one.method for one in second]


@pytest.mark.parametrize("radius", [0.01, 0.1, 0.3])
def test_the_command_asks_what_one_would_ask_oneself(radius):
    made = module(weights(5))
    x = torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(5))
    network = from_torch(made, (1, 4, 4))
    y = network(x.double()).argmax(1)
    found = certify(TorchVictim(made, IMAGES, search="plain"), x, y, Threat(Linf(radius), Untargeted()), ["network"], effort="quick")
    wide, met = radius + 1e-6, 0
    for share, verdict in ((wide, Verdict.PROVED), (radius, Verdict.REFUTED)):  # a set that holds that of the command, and one within it
        inputs = InputSet((x.double() - share).clamp(0, 1), (x.double() + share).clamp(0, 1))
        own = decide(Query.robustness(network, inputs, y), verifiers=at_effort("quick"))
        against = Verdict.REFUTED if verdict is Verdict.PROVED else Verdict.PROVED
        said = [its.verdict for mine, its in zip(own, found, strict=True) if mine.verdict is verdict]
        met += len(said)
        assert against not in said
    assert met
    same = decide(Query.robustness(network, InputSet((x.double() - radius).clamp(0, 1), (x.double() + radius).clamp(0, 1)), y), verifiers=at_effort("quick"))
    assert sum(one.verdict is other.verdict for one, other in zip(same, found, strict=True)) >= 7


@pytest.mark.parametrize("space", [Linf, L2, L1])
@pytest.mark.parametrize("seed", range(3))
def test_trees_by_search_by_solver_and_by_enumeration(seed, space):
    draw = np.random.default_rng(seed)
    dump = [grown.grow(draw, 2, 2) for _ in range(4)]
    x = draw.random((6, 2))
    order = {Linf: np.inf, L2: 2, L1: 1}[space]
    ensemble = read_dump(dump, 2)
    victim = TreeVictim(ensemble, Table(tuple(Column(f"c{place}", "real", 0, 1) for place in range(2))))
    rows = torch.from_numpy(x)
    y = victim.label(rows)
    ties = [grown.truth(dump, row, int(label), order) for row, label in zip(x, y, strict=True)]
    for radius in (0.02, 0.2, 0.6):
        threat = Threat(space(radius), Untargeted())
        ways = [certify(victim, rows, y, threat, ["trees"], **settings) for settings in ({}, {"states": 1, "milp": True, "max_level": 0})]
        for place, answers in enumerate(zip(*ways, strict=True)):
            for one in answers:
                assert one.verdict is not Verdict.PROVED or ties[place] > radius - 1e-6
                assert one.verdict is not Verdict.REFUTED or ties[place] < radius + 1e-6
            assert {one.verdict for one in answers} != {Verdict.PROVED, Verdict.REFUTED}
            assert answers[0].verdict is not Verdict.UNKNOWN or ties[place] <= radius + 1e-6
