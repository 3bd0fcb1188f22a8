"""Finds the scores in what a model returns: a tensor, a tuple, a mapping or an object with fields."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from sparring.core.errors import LoadError

SCORES = ("logits", "out", "pred", "scores", "probabilities", "probs")
"""Names of outputs that hold scores, the surest first."""


def scores_in(output: Any, asked: str | int | None, name: str) -> Any:
    """Return the tensor or array of scores in what a model returned.

    Args:
        output: A tensor or array, which is returned as it is; a tuple, list, mapping or object with fields.
        asked: The key, field or place of the scores; where left out, the field `logits` or another usual name, or the only tensor of floating point
            numbers with axes.
        name: Of the model, for messages.

    Raises:
        LoadError: Where nothing is asked and several outputs may hold scores, or what is asked is not there.

    Example:
        >>> scores_in({"loss": torch.tensor(0.3), "logits": torch.zeros(2, 10)}, None, "net").shape
        torch.Size([2, 10])
    """
    while asked is None and isinstance(output, tuple | list) and len(output) == 1 and not isinstance(output[0], int | float):
        output = output[0]
    if asked is None and not _several(output):
        return output
    found = dict(_parts(output))
    if asked is not None:
        if not _several(output):
            raise LoadError(f"{name} returns one output ({_said(output)}): leave out output={asked!r}")
        key = int(asked) if isinstance(asked, str) and asked.lstrip("-").isdecimal() and asked not in found else asked
        key = list(found)[key] if isinstance(key, int) and key not in found and -len(found) <= key < len(found) else key
        if key not in found:
            raise LoadError(f"{name} has no output {asked!r}; it returns {_listed(found)}: name one of them, output=...")
        return found[key]
    likely = [key for key, value in found.items() if _floating(value)]
    usual = [key for key in SCORES if key in likely]
    if len(likely) == 1 or usual:
        return found[usual[0] if usual else likely[0]]
    if not likely:
        raise LoadError(f"{name} returns {_listed(found) or type(output).__name__}: give a model that returns scores [n, classes]")
    raise LoadError(f"{name} returns several outputs that may hold scores, {_listed(found)}: name one, output={likely[0]!r}")


def _several(output: Any) -> bool:
    """Whether an output is a collection of outputs, not an array or list of numbers."""
    if isinstance(output, Tensor) or hasattr(output, "__array__"):
        return False
    if isinstance(output, list | tuple):
        return any(isinstance(one, Tensor) or (hasattr(one, "__array__") and getattr(one, "ndim", 0)) for one in output)
    return isinstance(output, Mapping) or hasattr(output, "logits") or hasattr(output, "__dataclass_fields__")


def _parts(output: Any) -> Iterator[tuple[str | int, Any]]:
    """The outputs with their keys, fields or places."""
    if isinstance(output, Mapping):
        yield from output.items()
    elif isinstance(output, tuple) and hasattr(output, "_fields"):
        yield from zip(output._fields, output, strict=True)  # type: ignore[attr-defined]
    elif isinstance(output, list | tuple):
        yield from enumerate(output)
    elif hasattr(output, "__dict__"):
        yield from vars(output).items()


def _floating(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.is_floating_point() and value.ndim > 0
    return getattr(getattr(value, "dtype", None), "kind", "") == "f" and getattr(value, "ndim", 0) > 0


def _listed(found: Mapping[str | int, Any]) -> str:
    return ", ".join(f"{key!r} ({_said(value)})" for key, value in found.items() if value is not None)


def _said(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if shape is None:
        return type(value).__name__
    return f"{str(getattr(value, 'dtype', '')).removeprefix('torch.')} [{', '.join(map(str, shape))}]"


SHAPES = ("View", "UnsafeView", "Reshape", "Squeeze", "Unsqueeze", "Clone", "Alias", "ToCopy")
"""Beginnings of the names of torch's operators that change the shape of an output only."""


def is_probability(output: Any) -> bool:
    """Return whether an output is one probability per input, because a sigmoid comes last.

    It is read as the logit then: a score is above 0 for class 1, a probability above 0.5.

    Args:
        output: What a module returned while gradients were on.
    """
    if not isinstance(output, Tensor) or output.numel() != len(output):
        return False
    step = output.grad_fn
    while step is not None and step.name().startswith(SHAPES):
        step = next((before for before, _ in step.next_functions if before is not None), None)
    return step is not None and step.name().startswith("SigmoidBackward")


def logit(probability: Tensor) -> Tensor:
    """Return the logit, finite also where the probability is 0 or 1."""
    return torch.logit(probability, eps=torch.finfo(probability.dtype).eps)


class Adapted(torch.nn.Module):
    """Put what a domain holds into a module, and take the scores out of what it returns.

    model: the module. feed: from inputs to what the module takes, or None. output: which output holds the scores. name: of the model, for messages.
    probability: whether it is one probability, of which the logit is taken.
    """

    def __init__(self, model: torch.nn.Module, feed: torch.nn.Module | None, output: str | int | None, name: str, probability: bool = False):
        super().__init__()
        self.model, self.feed, self.output, self.called, self.probability = model, feed, output, name, probability
        self.training = model.training

    def as_given(self) -> "Adapted":
        """Return the same module, with a probability as the module gives it."""
        return Adapted(self.model, self.feed, self.output, self.called)

    def forward(self, x: Tensor) -> Any:
        """Return the scores for a batch of the domain."""
        scores = scores_in(self.model(x if self.feed is None else self.feed(x)), self.output, self.called)
        return logit(scores) if self.probability else scores
