"""Certify by dividing the margin by an upper bound on the Lipschitz constant.

Tsuzuku, Sato, Sugiyama 2018, arXiv:1802.04034, with norms that are bounded from above: the power iteration that is often used converges from
below and proves nothing. Gram iteration: Delattre et al. 2023, arXiv:2305.16173, on matrices written out.
"""

import math
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sparring.certification.certificate import Certificate, Verdict
from sparring.certification.certifier import Limit, certifier
from sparring.certification.networks.bounds.threat import input_set
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.graph.builder import Unsupported
from sparring.graph.network import Network
from sparring.graph.operators import Add, Affine, Concat, Conv, ConvTranspose, Linear, Relu, Reshape, Scale, Select, Sigmoid, Tanh
from sparring.models.graph_of import network_of
from sparring.models.onnx import OnnxVictim
from sparring.models.torch import TorchVictim
from sparring.threats.balls import Ball

WRITTEN = 2048
"""Affine operators with fewer numbers on one side are written out and their norm is found to a thousandth; larger ones are bounded by row and column sums."""
SQUARINGS = 12
"""Of the Gram matrix: its Frobenius norm is then within n^(1 / 2^13) of the largest singular value, a thousandth for n = 2048."""
ROUNDING = 1e-9

_norms: "WeakKeyDictionary[Network, tuple[Tensor, Tensor]]" = WeakKeyDictionary()


def operator_norm(operator: Affine, shape: tuple[int, ...], out: tuple[int, ...]) -> float:
    """Return an upper bound of the spectral norm of the linear part of an operator.

    Its inputs have `shape`, its outputs shape `out`.
    """
    if isinstance(operator, Reshape):
        return 1.0
    if isinstance(operator, Select):
        places = operator.index[operator.index >= 0]
        return math.sqrt(int(places.bincount().max())) if places.numel() else 0.0
    if isinstance(operator, Scale):
        return float(operator.factor.abs().max())
    if isinstance(operator, Linear):
        return spectral_norm(operator.weight)
    if isinstance(operator, Conv | ConvTranspose) and min(math.prod(shape), math.prod(out)) <= WRITTEN:
        return spectral_norm(matrix(operator, shape, out))
    ones = torch.ones(1, *shape, dtype=torch.float64)
    rows = float(operator.absolute(ones).max())
    columns = float(_absolute_columns(operator, shape, out).max())
    return math.sqrt(rows * columns) * (1 + ROUNDING)


def matrix(operator: Affine, shape: tuple[int, ...], out: tuple[int, ...]) -> Tensor:
    """Return the linear part written out, [out, in], or its transpose if that has fewer rows.

    The norms of both are the same.
    """
    if math.prod(out) <= math.prod(shape):
        rows = torch.eye(math.prod(out), dtype=torch.float64).reshape(-1, *out)
        return torch.cat([operator.adjoint(part, shape).flatten(1) for part in rows.split(256)])
    columns = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    return torch.cat([operator.linear(part).flatten(1) for part in columns.split(256)])


def _absolute_columns(operator: Affine, shape: tuple[int, ...], out: tuple[int, ...]) -> Tensor:
    if isinstance(operator, Conv | ConvTranspose | Linear):
        return type(operator)(**{**vars(operator), "weight": operator.weight.abs()}).adjoint(torch.ones(1, *out, dtype=torch.float64), shape)
    raise TypeError(f"no norm of {type(operator).__name__}")


def spectral_norm(weight: Tensor) -> float:
    """Return an upper bound of the largest singular value of a matrix.

    It is |G^(2^k)|_F^(1 / 2^(k + 1)) for the Gram matrix G, which holds for every k.
    """
    small = weight.double() if len(weight) <= weight.shape[1] else weight.double().T
    gram = small @ small.T
    logarithm = 0.0  # logarithm of the factor that was divided out, per power of the first Gram matrix
    for turn in range(SQUARINGS):
        size = float(gram.norm())
        if size == 0 or not math.isfinite(size):
            return size
        logarithm += math.log(size) / 2**turn
        gram = gram / size
        gram = gram @ gram
    return math.exp((logarithm + math.log(max(float(gram.norm()), 1e-300)) / 2**SQUARINGS) / 2) * (1 + ROUNDING)


def constants(network: Network) -> tuple[float, Tensor]:
    """Return upper bounds of Lipschitz constants in L2.

    Upper bounds of the L2 Lipschitz constants of all nodes but the last, as far as the last one takes them, and of every pair of outputs:
    (constant before the last node, float64 [k, k] of output differences). Raises Unsupported where a product makes it endless.
    """
    known = _norms.get(network)
    if known is None:
        found = [1.0]
        for node in range(1, len(network.nodes)):
            found.append(_constant(network, node, found))
        last = network.nodes[-1]
        count = network.outputs
        if isinstance(last.operator, Linear) and len(network.shapes[last.inputs[0]]) == 1:
            weight = last.operator.weight
            pairs = torch.linalg.vector_norm(weight[:, None] - weight[None], dim=2) * found[last.inputs[0]] * (1 + ROUNDING)
        else:
            pairs = torch.full((count, count), math.sqrt(2) * found[-1], dtype=torch.float64)
        known = _norms[network] = (torch.tensor(found), pairs)
    return float(known[0][-1]), known[1]


def _constant(network: Network, index: int, found: list[float]) -> float:
    node = network.nodes[index]
    operator, before = node.operator, [found[one] for one in node.inputs]
    if isinstance(operator, Affine):
        return before[0] * operator_norm(operator, network.shapes[node.inputs[0]], network.shapes[index])
    if isinstance(operator, Relu | Tanh):
        return before[0]
    if isinstance(operator, Sigmoid):
        return before[0] / 4
    if isinstance(operator, Add):
        return sum(before)
    if isinstance(operator, Concat):
        source = sorted_pairs(network, index)
        return math.hypot(*before) if source is None else found[source]
    raise Unsupported(f"{type(operator).__name__} has no Lipschitz constant")


def sorted_pairs(network: Network, index: int) -> int | None:
    """Return the node whose numbers a Concat sorts in pairs (MaxMin), or None.

    Where a Concat is MaxMin, max(a, b) = b + relu(a - b) beside min(a, b) = a - relu(a - b), a and b being different numbers of one node: the
    place of that node, which it sorts and so changes no distance upward. None for any other.
    """

    def is_minus(one: int, other: int) -> bool:
        node = network.nodes[one]
        return isinstance(node.operator, Scale) and node.inputs == (other,) and node.operator.shift is None and bool((node.operator.factor == -1).all())

    def sums(one: int) -> list[tuple[int, int]]:
        node = network.nodes[one]
        return [node.inputs, node.inputs[::-1]] if isinstance(node.operator, Add) and len(node.inputs) == 2 else []  # type: ignore[list-item]

    def picks(one: int) -> tuple[int, Tensor] | None:
        node = network.nodes[one]
        return (node.inputs[0], node.operator.index.flatten()) if isinstance(node.operator, Select) else None

    if len(network.nodes[index].inputs) != 2:
        return None
    for greater, less in (network.nodes[index].inputs, network.nodes[index].inputs[::-1]):
        for b, relu in sums(greater):
            for a, minus in sums(less):
                node = network.nodes[relu]
                if not (isinstance(node.operator, Relu) and is_minus(minus, relu)):
                    continue
                separate = any(one == a and is_minus(other, b) for one, other in sums(node.inputs[0]))
                first, second = picks(a), picks(b)
                if separate and first is not None and second is not None and first[0] == second[0]:
                    places = torch.cat([first[1], second[1]])
                    if bool((places >= 0).all()) and len(places.unique()) == len(places):
                        return first[0]
    return None


def _misfit(victim: Victim, threat: Threat) -> str:
    if threat.goal.kind != "untargeted":
        return "it certifies untargeted threats only: use goal=untargeted"
    return ""


@certifier(
    "lipschitz",
    _misfit,
    spaces=Limit((Ball,), "Lipschitz constants certify linf, l2 and l1 only"),
    victims=Limit((TorchVictim, OnnxVictim), "it needs a white-box model: give a torch module or an ONNX file"),
    cites="Tsuzuku, Sato, Sugiyama 2018, arXiv:1802.04034; Delattre et al. 2023, arXiv:2305.16173",
    order=15,
    by_default=False,
)
def lipschitz(victim: Victim, x: Tensor, y: Tensor, threat: Threat, rng: Rng, *, seconds: float | None = None) -> Sequence[Certificate]:
    """Certify by dividing the margin by an upper bound on the Lipschitz constant.

    The radius is the least over other classes of margin / constant, in L2; under Linf it is divided by the root of the number of
    inputs, and an L1 ball lies in the L2 ball of its radius. Tight for networks built of 1-Lipschitz layers, and quick for all.
    """
    try:
        network = network_of(victim)
        _, pairs = constants(network)
    except Unsupported as error:
        return [Certificate(Verdict.UNKNOWN, reason=f"operator: {error}") for _ in range(len(x))]
    if not network.finite or not bool(torch.isfinite(pairs).all()):
        return [Certificate(Verdict.UNKNOWN, reason="numerics: the Lipschitz constant is not finite") for _ in range(len(x))]
    scores = network(x.double()).flatten(1)
    gaps = scores.gather(1, y[:, None]) - scores
    slack = 1e-9 * scores.abs().amax(1, keepdim=True)
    radii = ((gaps - slack) / pairs[y].clamp_min(1e-300)).scatter(1, y[:, None], math.inf).amin(1)
    inputs = input_set(threat.space, x, victim.domain)
    reach = inputs.radius if inputs.radius is not None else (torch.maximum(inputs.high - x, x - inputs.low)).flatten(1).amax(1)
    share = math.sqrt(x[0].numel()) if inputs.is_box else 1.0
    radii = (radii / share * (1 - ROUNDING)).nan_to_num(nan=0.0).clamp_min(0.0)
    asked = threat.space.radii(len(x)).tolist()
    answers = []
    for sample, (radius, far) in enumerate(zip(radii.tolist(), reach.tolist(), strict=True)):
        if radius > far and radius > 0:
            answers.append(Certificate(Verdict.PROVED, "lipschitz", radius, float(gaps[sample].scatter(0, y[sample], math.inf).amin())))
        else:
            proved = min(radius * (1 - 1e-6), asked[sample])
            answers.append(Certificate(Verdict.UNKNOWN, "lipschitz", proved, reason=f"lipschitz: the constant proves only radius {radius:.3g}"))
    return answers
