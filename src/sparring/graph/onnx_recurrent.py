"""ONNX's recurrent layers (RNN, GRU and LSTM) as torch functions of whole batches, in the equations of the ONNX specification."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.graph.builder import Unsupported
from sparring.graph.onnx_functions import Application, computes

Activation = Callable[[Tensor], Tensor]
States = tuple[Tensor, Tensor]
"""The hidden state and the state of the memory cells [n, hidden]; the second is left alone except by an LSTM."""

ACTIVATIONS: dict[str, tuple[Callable[..., Tensor], tuple[float | None, ...]]] = {
    "relu": (torch.relu, ()),
    "tanh": (torch.tanh, ()),
    "sigmoid": (torch.sigmoid, ()),
    "softsign": (F.softsign, ()),
    "softplus": (F.softplus, ()),
    "elu": (lambda x, alpha: F.elu(x, alpha), (1.0,)),
    "leakyrelu": (lambda x, alpha: F.leaky_relu(x, alpha), (0.01,)),
    "thresholdedrelu": (lambda x, alpha: torch.where(x > alpha, x, 0.0), (None,)),
    "affine": (lambda x, alpha, beta: alpha * x + beta, (None, None)),
    "hardsigmoid": (lambda x, alpha, beta: (alpha * x + beta).clamp(0, 1), (0.2, 0.5)),
    "scaledtanh": (lambda x, alpha, beta: alpha * torch.tanh(beta * x), (None, None)),
}
"""By name in small letters: the function, and the defaults of alpha and beta as far as it takes them. Where onnxruntime has none that are usable, None."""

USUAL = {"RNN": ["tanh"], "GRU": ["sigmoid", "tanh"], "LSTM": ["sigmoid", "tanh", "tanh"]}
"""Activations of one direction where none are named; f, g and h in the specification."""


class Direction(NamedTuple):
    """Hold one direction of a recurrent layer.

    weight: [gates, hidden, inputs]. recurrence: [gates, hidden, hidden]. bias, recurrent_bias: [gates, hidden]. peepholes: [3, hidden], zero where
    there are none.
    """

    weight: Tensor
    recurrence: Tensor
    bias: Tensor
    recurrent_bias: Tensor
    peepholes: Tensor
    activations: Sequence[Activation]
    settings: dict[str, Any]

    def inner(self, gate: int, given: Tensor, h: Tensor) -> Tensor:
        """Return what a gate takes from the input and the last hidden state, before its activation."""
        return given[gate] + h @ self.recurrence[gate].mT + self.recurrent_bias[gate]

    def clipped(self, x: Tensor) -> Tensor:
        """Return what goes into an activation, within the bound of the layer."""
        bound = self.settings.get("clip")
        return x if bound is None else x.clamp(-bound, bound)


Cell = Callable[[Direction, Tensor, States], States]
"""From what the input adds to each gate [gates, n, hidden] and the last state to the next."""


def _rnn(way: Direction, given: Tensor, state: States) -> States:
    (f,), (h, c) = way.activations, state
    return f(way.clipped(way.inner(0, given, h))), c


def _gru(way: Direction, given: Tensor, state: States) -> States:
    (f, g), (h, c) = way.activations, state
    update, reset = (f(way.clipped(way.inner(gate, given, h))) for gate in (0, 1))
    if way.settings.get("linear_before_reset", 0):
        proposed = given[2] + reset * (h @ way.recurrence[2].mT + way.recurrent_bias[2])
    else:
        proposed = way.inner(2, given, reset * h)
    return (1 - update) * g(way.clipped(proposed)) + update * h, c


def _lstm(way: Direction, given: Tensor, state: States) -> States:
    (f, g, out), (h, c) = way.activations, state
    peep_in, peep_out, peep_forget = way.peepholes
    enter = f(way.clipped(way.inner(0, given, h) + peep_in * c))
    forget = 1 - enter if way.settings.get("input_forget", 0) else f(way.clipped(way.inner(2, given, h) + peep_forget * c))
    c = forget * c + enter * g(way.clipped(way.inner(3, given, h)))
    leave = f(way.clipped(way.inner(1, given, h) + peep_out * c))
    return leave * out(c), c


CELLS: dict[str, tuple[Cell, int]] = {"RNN": (_rnn, 1), "GRU": (_gru, 3), "LSTM": (_lstm, 4)}
"""The step of each layer and its number of gates."""


@computes("RNN", "GRU", "LSTM")
def _recurrent(node: Application) -> list[Tensor]:
    """Return all hidden states, the last one, and for an LSTM the last state of its memory."""
    rows_first = bool(node.settings.get("layout", 0))
    x = node.x.transpose(0, 1) if rows_first else node.x
    lengths, firsts = node.get(4), [node.get(place) for place in (5, 6)]
    outputs, ends = [], []
    for place, (way, backwards) in enumerate(_directions(node)):
        blank = x.new_zeros(x.shape[1], node.at(2).shape[-1])
        h, c = (blank if one is None else one[:, place] if rows_first else one[place] for one in firsts)
        order = _order(len(x), lengths, backwards)
        states, end = _along(node.operator, way, _picked(x, order), (h, c), lengths)
        outputs.append(_picked(states, order))
        ends.append(end)
    along, axis = torch.stack(outputs, 1), 0  # [steps, directions, n, hidden]
    if rows_first:
        along, axis = along.permute(2, 0, 1, 3), 1
    return [along, *(torch.stack(one, axis) for one in zip(*ends, strict=True))]


def _directions(node: Application) -> Iterator[tuple[Direction, bool]]:
    """The directions of a layer, and whether each runs from the end of the sequence to its beginning."""
    directions = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[node.word("direction", "forward")]
    weight, recurrence, bias = node.at(1), node.at(2), node.get(3)
    gates, hidden = CELLS[node.operator][1], recurrence.shape[-1]
    activations = _activations(node, len(directions))
    peepholes = node.get(7) if node.operator == "LSTM" else None
    for place, backwards in enumerate(directions):
        both = weight.new_zeros(2, gates, hidden) if bias is None else bias[place].reshape(2, gates, hidden)
        peep = weight.new_zeros(3, hidden) if peepholes is None else peepholes[place].reshape(3, hidden)
        parts = weight[place].reshape(gates, hidden, -1), recurrence[place].reshape(gates, hidden, hidden)
        yield Direction(*parts, both[0], both[1], peep, activations[place], node.settings), backwards


def _activations(node: Application, directions: int) -> list[list[Activation]]:
    """The activations of each direction; alpha and beta are taken in turn by those that have them."""
    usual = USUAL[node.operator]
    names = [one.decode().lower() for one in node.settings.get("activations") or []] or usual * directions
    numbers = [iter(node.settings.get(name) or []) for name in ("activation_alpha", "activation_beta")]
    found: list[Activation] = []
    for name in names:
        if name not in ACTIVATIONS:
            raise Unsupported(f"the activation {name} is not supported")
        function, defaults = ACTIVATIONS[name]
        settings = [next(given, default) for given, default in zip(numbers, defaults, strict=False)]
        if None in settings:
            raise Unsupported(f"the activation {name} has no activation_alpha or activation_beta: give both")
        found.append(lambda x, function=function, settings=settings: function(x, *settings))
    return [found[start : start + len(usual)] for start in range(0, len(found), len(usual))]


def _order(count: int, lengths: Tensor | None, backwards: bool) -> Tensor | None:
    """The steps in the order in which a direction reads them, int64 [count] or [count, n]; it is its own inverse. None where it reads them as they are."""
    if not backwards:
        return None
    steps = torch.arange(count)
    if lengths is None:
        return steps.flip(0)
    within = lengths.long()[None]
    return torch.where(steps[:, None] < within, within - 1 - steps[:, None], steps[:, None])  # what lies behind the end of a sequence stays there


def _picked(x: Tensor, order: Tensor | None) -> Tensor:
    if order is None:
        return x
    return x[order] if order.ndim == 1 else x.gather(0, order[..., None].expand_as(x))


def _along(operator: str, way: Direction, x: Tensor, state: States, lengths: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The hidden states [steps, n, hidden] of one direction, zero behind the end of a sequence, and its last states."""
    cell = CELLS[operator][0]
    given = torch.einsum("sni,ghi->sgnh", x, way.weight) + way.bias[:, None]
    states = []
    for step, each in enumerate(given):
        found = cell(way, each, state)
        if lengths is not None:
            inside = (step < lengths.long())[:, None]
            states.append(torch.where(inside, found[0], 0.0))
            found = torch.where(inside, found[0], state[0]), torch.where(inside, found[1], state[1])
        else:
            states.append(found[0])
        state = found
    ends = state if operator == "LSTM" else state[:1]
    if lengths is not None:  # as in onnxruntime, an empty sequence ends in zero, whatever it began with
        ends = tuple(torch.where((lengths > 0)[:, None], one, 0.0) for one in ends)
    return torch.stack(states), ends
