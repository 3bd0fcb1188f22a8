"""Regression: one or more real values per sample."""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparring.core.errors import InputError, LoadError, NeedsError
from sparring.core.registry import register
from sparring.core.task import Task


class ValueCriterion(NamedTuple):
    """Leave an interval in some output.

    low, high: float64 [n, k], the ends of the interval; an infinite end leaves only the other way out.
    """

    low: Tensor
    high: Tensor

    def take(self, rows: Tensor) -> "ValueCriterion":
        """Return the criterion for some of the samples."""
        return ValueCriterion(self.low[rows], self.high[rows])

    def loss(self, scores: Tensor) -> Tensor:
        """Return how far the values are outside of the interval, [n]; negative inside.

        The output counts in which they are farthest.
        """
        return torch.maximum(scores - self.high, self.low - scores).amax(1)

    def met(self, answer: Tensor) -> Tensor:
        """Return whether the values are outside of the interval, bool [n]."""
        return ((answer > self.high) | (answer < self.low)).any(1) & torch.isfinite(answer).all(1)

    def aimed(self) -> list[str | None]:
        """Return the answers to reach: there are none."""
        return [None] * len(self.low)

    @property
    def untargeted(self) -> bool:
        """Return whether any answer far enough from the truth is a success.

        It holds for every sample, in both directions.
        """
        return bool(torch.isfinite(self.low).all() and torch.isfinite(self.high).all())


@register("task", "values")
@dataclass(frozen=True)
class Values(Task):
    """Represent `outputs` real values per sample.

    Args:
        outputs: Their number.
        tolerance: An answer is wrong that differs by more from the truth in some output; one number for all outputs or one per
            output. Left out, it is half the standard deviation of the true values of the data.
        scale: The error at which the quality of an answer is 0. Left out, it is the standard deviation of the true values of the data.
    """

    outputs: int = 1
    tolerance: float | tuple[float, ...] | None = None
    scale: float | tuple[float, ...] | None = None

    kind: ClassVar[str] = "values"

    def __post_init__(self) -> None:
        if isinstance(self.outputs, bool) or not isinstance(self.outputs, int) or self.outputs < 1:
            raise InputError(f"outputs={self.outputs!r}: give a whole number of at least 1")
        for name, given in (("tolerance", self.tolerance), ("scale", self.scale)):
            numbers = given if isinstance(given, tuple) else (given,) * self.outputs
            if given is not None and (len(numbers) != self.outputs or not all(_is_size(one, name == "scale") for one in numbers)):
                raise InputError(f"{name}={given!r}: give one finite number, or {self.outputs} of them, one per output; a scale is above 0")

    @property
    def score_shape(self) -> tuple[int, ...]:
        return (self.outputs,)

    def scores(self, output: Any, name: str) -> Tensor:
        """Return scores [n, outputs]; a vector is one output."""
        scores = output if isinstance(output, Tensor) else torch.as_tensor(output)
        if scores.ndim == 1:
            scores = scores[:, None]
        if scores.ndim != 2 or not scores.is_floating_point():
            raise LoadError(f"{name} returned {scores.dtype} {tuple(scores.shape)}: values must be floating point [n, outputs]")
        return scores

    def fitted(self, scores: Tensor, name: str) -> "Values":
        if scores.shape[1] != self.outputs:
            raise LoadError(f"{name} gives {scores.shape[1]} values per sample, but the task has {self.outputs}: change one of them")
        return self

    def measured(self, truth: Tensor) -> "Values":
        """Return this task with the tolerance and scale of the true values, unless given."""
        deviation = truth.std(0, correction=0)
        size = tuple(float(one) if one > 0 else 1.0 for one in deviation)
        tolerance = tuple(one / 2 for one in size) if self.tolerance is None else self.tolerance
        return replace(self, tolerance=tolerance, scale=size if self.scale is None else self.scale)

    def told(self, known: Task) -> "Values":
        if not isinstance(known, Values) or known.outputs != self.outputs:
            return self
        own = self.tolerance, self.scale
        tolerance, scale = (theirs if given is None else given for given, theirs in zip(own, (known.tolerance, known.scale), strict=True))
        return replace(self, tolerance=tolerance, scale=scale)

    def answer(self, scores: Tensor) -> Tensor:
        values = scores.double()
        return values.where(torch.isfinite(values).all(1, keepdim=True), math.nan)

    def answered(self, answer: Tensor) -> Tensor:
        return torch.isfinite(answer).all(1)

    def no_answer(self, like: Tensor) -> Tensor:
        return torch.full((len(like), self.outputs), math.nan, dtype=torch.float64, device=like.device)

    def check(self, truth: Any, count: int) -> Tensor:
        try:
            values = torch.as_tensor(truth if isinstance(truth, Tensor) else np.array(truth)).to(torch.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"the true values are not numbers ({str(truth)[:60]}): give floats [n, outputs]") from error
        values = values[:, None] if values.ndim == 1 else values
        if tuple(values.shape) != (count, self.outputs):
            raise InputError(f"the true values have shape {tuple(values.shape)}: give [{count}, {self.outputs}], one row per sample")
        if not bool(torch.isfinite(values).all()):
            raise InputError("some true values are not finite: leave these samples out")
        return values

    def wrong(self, truth: Tensor) -> ValueCriterion:
        tolerance = self._sizes(self.tolerance, "tolerance", truth)
        return ValueCriterion(truth - tolerance, truth + tolerance)

    @property
    def mistake(self) -> str:
        if self.tolerance is None:
            return "it differs from the truth by more than the tolerance"
        sizes = self.tolerance if isinstance(self.tolerance, tuple) else (self.tolerance,)
        said = (
            f"{sizes[0]:.4g}"
            if len(set(sizes)) == 1
            else f"the tolerance of some output ({', '.join(f'{one:.4g}' for one in sizes[:5])}{', …' if sizes[5:] else ''})"
        )
        return f"it differs from the truth by more than {said}"

    def named(self, packed: str) -> str:
        return ", ".join(f"{float(one):.4g}" for one in packed.split()) or "no answer"

    def quality(self, answer: Tensor, truth: Tensor) -> Tensor:
        """Return max(0, 1 - (error / scale)^2), the mean over outputs."""
        share = (1 - ((answer.double() - truth) / self._sizes(self.scale, "scale", truth)) ** 2).clamp(min=0).mean(1)
        return share.where(self.answered(answer), 0.0)

    def _sizes(self, given: float | tuple[float, ...] | None, name: str, like: Tensor) -> Tensor:
        if given is None:
            raise NeedsError(f"the {name} of the values is not known: write values({name}=0.5), or take the task of the data")
        return torch.tensor(given, dtype=torch.float64, device=like.device)

    def pack(self, answer: Tensor) -> list[str]:
        known = self.answered(answer).tolist()
        return [" ".join(map(repr, row)) if told else "" for row, told in zip(answer.double().tolist(), known, strict=True)]

    def unpack(self, packed: list[str]) -> Tensor:
        rows = [[float(one) for one in text.split()] if text else [math.nan] * self.outputs for text in packed]
        return torch.tensor(rows, dtype=torch.float64).reshape(len(packed), self.outputs)

    def describe(self) -> dict[str, Any]:
        plain = {name: list(one) if isinstance(one, tuple) else one for name, one in (("tolerance", self.tolerance), ("scale", self.scale))}
        return {"kind": self.kind, "outputs": self.outputs, **plain}

    @classmethod
    def restore(cls, description: dict[str, Any]) -> "Values":
        plain = {name: tuple(one) if isinstance(one := description[name], list) else one for name in ("tolerance", "scale")}
        return cls(description["outputs"], **plain)

    def __str__(self) -> str:
        return "1 value" if self.outputs == 1 else f"{self.outputs} values"


def _is_size(number: Any, positive: bool) -> bool:
    whole = isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
    return whole and (number > 0 or (number == 0 and not positive))
