"""Skip gradients: a surrogate whose residual branches pass back less of the gradient."""

import copy
import functools
import operator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, fx, nn

from sparring.attacks.evasion.transfer.change import Ask, Change, Here, require
from sparring.core.errors import NeedsError
from sparring.core.registry import register
from sparring.core.victim import Victim
from sparring.models.adapter import victim
from sparring.models.torch import TorchVictim

ADDITIONS = (operator.add, operator.iadd, torch.add)


@register("change", "sgm")
@dataclass(frozen=True)
class SkipDecay(Change):
    """Multiply gradients through the residual branches of the surrogate by `decay` (SGM).

    The answers of the surrogate stay the same (Wu et al. 2020, arXiv:2002.05990, equation 6).

    Args:
        decay: Factor in (0, 1]; in the paper 0.5 suits ResNets and 0.7 DenseNets.

    Differs from the paper: branches are found in the graph of the network,
    as the longer of two ways from one point that an addition brings together; the official code lists layers by name.
    """

    decay: float = 0.5
    order: ClassVar[int] = 80
    cites: ClassVar[str] = "Wu et al. 2020, arXiv:2002.05990"
    of_surrogate: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self, lambda: self.decay >= 0, "a decay of at least 0")

    def __call__(self, ask: Ask, here: Here) -> Ask:
        return ask

    def prepare(self, surrogate: Victim) -> Victim:
        return softened(surrogate, self.decay)


@functools.lru_cache(maxsize=16)
def softened(surrogate: Victim, decay: float) -> Victim:
    """Return the same network with decayed residual branches.

    NeedsError where there is no network or none with such branches.
    """
    module = getattr(surrogate, "module", None)
    if not isinstance(surrogate, TorchVictim) or not isinstance(module, nn.Module) or getattr(surrogate, "exported", False):
        raise NeedsError(f"sgm needs a torch module as surrogate; {surrogate.name} is a {type(surrogate).__name__}: leave sgm out of changes")
    try:
        with surrogate.session():
            graph = fx.symbolic_trace(copy.deepcopy(module))
    except Exception as error:  # tracing runs the user's own code
        said = (str(error).strip().splitlines() or [""])[0]
        raise NeedsError(f"sgm cannot follow the code of {surrogate.name} ({type(error).__name__}: {said}): leave sgm out of changes") from error
    branches = residual_branches(graph)
    if not branches:
        raise NeedsError(f"sgm finds no addition of a branch and a skip in {surrogate.name}: sgm needs a residual network, so leave it out of changes")
    for addition, branch in branches:
        with graph.graph.inserting_after(branch):
            less = graph.graph.call_function(decayed, (branch, decay))
        addition.replace_input_with(branch, less)
    graph.recompile()
    return victim(graph.eval(), surrogate.domain, name=surrogate.name, search="plain")


def residual_branches(graph: fx.GraphModule) -> list[tuple[fx.Node, fx.Node]]:
    """Return (addition, end of its residual branch): the longer of two ways from one point."""
    found, behind = [], {}
    for node in graph.graph.nodes:
        behind[node] = set().union({node}, *(behind[one] for one in node.all_input_nodes))
        inputs = [one for one in node.args if isinstance(one, fx.Node)]
        if not _adds(node) or len(inputs) != 2 or inputs[0] is inputs[1]:
            continue
        first, second = (behind[one] for one in inputs)
        if not (shared := first & second) or all(one.op == "get_attr" for one in shared):
            continue
        lengths = len(first - shared), len(second - shared)
        if lengths[0] != lengths[1]:
            found.append((node, inputs[0] if lengths[0] > lengths[1] else inputs[1]))
    return found


def _adds(node: fx.Node) -> bool:
    return node.target in ADDITIONS if node.op == "call_function" else node.op == "call_method" and node.target in ("add", "add_")


class _Decayed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, decay: float) -> Tensor:  # pyright: ignore
        ctx.decay = decay
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        return g * ctx.decay, None


def decayed(x: Tensor, decay: float) -> Tensor:
    """Return x itself, whose gradient is multiplied by `decay`."""
    return _Decayed.apply(x, decay)  # pyright: ignore[reportReturnType]
