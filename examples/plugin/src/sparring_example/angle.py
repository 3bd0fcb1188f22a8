"""Angles: the model answers a direction, so that 359 and 1 are two degrees apart."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparring.core.errors import InputError, LoadError
from sparring.core.registry import register
from sparring.core.task import Task

from .circle import apart, direction


class AngleCriterion(NamedTuple):
    """Lead an answer away from the truth by more than the tolerance.

    truth, tolerance: float64 [n], in degrees.
    """

    truth: Tensor
    tolerance: Tensor

    def take(self, rows: Tensor) -> "AngleCriterion":
        """Return the criterion of some of the samples."""
        return AngleCriterion(self.truth[rows], self.tolerance[rows])

    def loss(self, scores: Tensor) -> Tensor:
        """Return by how many degrees the answer is beyond the tolerance, [n]; negative within it."""
        return apart(direction(scores), self.truth) - self.tolerance

    def met(self, answer: Tensor) -> Tensor:
        """Return whether the answer is beyond the tolerance, bool [n]."""
        return apart(answer, self.truth) - self.tolerance > 0

    def aimed(self) -> list[str | None]:
        """Return the answers to reach: there are none."""
        return [None] * len(self.truth)


@register("task", "angle")
@dataclass(frozen=True)
class Angle(Task):
    """Represent one angle per sample, in degrees; the scores are a vector that points there.

    Args:
        tolerance: The largest error of a correct answer, in degrees.
    """

    tolerance: float = 15.0

    kind: ClassVar[str] = "angle"

    def __post_init__(self) -> None:
        number = isinstance(self.tolerance, int | float) and not isinstance(self.tolerance, bool)
        if not number or not 0 <= self.tolerance < 180:
            raise InputError(f"tolerance={self.tolerance!r}: give degrees from 0 to below 180")

    @property
    def score_shape(self) -> tuple[int, ...]:
        return (2,)

    def scores(self, output: Any, name: str) -> Tensor:
        """Return vectors [n, 2]."""
        scores = output if isinstance(output, Tensor) else torch.as_tensor(output)
        return self._checked(scores, name)

    def fitted(self, scores: Tensor, name: str) -> "Angle":
        """Return this task, which has no sizes to learn."""
        self._checked(scores, name)
        return self

    def _checked(self, scores: Tensor, name: str) -> Tensor:
        if scores.ndim != 2 or scores.shape[1] != 2 or not scores.is_floating_point():
            raise LoadError(f"{name} returned {scores.dtype} {tuple(scores.shape)}: an angle is told by two numbers, floating point [n, 2]")
        return scores

    def answer(self, scores: Tensor) -> Tensor:
        """Return the direction of the vectors in degrees, float64 [n]."""
        return direction(scores)

    def answered(self, answer: Tensor) -> Tensor:
        return torch.isfinite(answer)

    def no_answer(self, like: Tensor) -> Tensor:
        return torch.full((len(like),), math.nan, dtype=torch.float64, device=like.device)

    def check(self, truth: Any, count: int) -> Tensor:
        try:
            angles = torch.as_tensor(truth if isinstance(truth, Tensor) else np.array(truth)).to(torch.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"the true angles are no numbers ({str(truth)[:60]})") from error
        if tuple(angles.shape) != (count,):
            raise InputError(f"the true angles have shape {tuple(angles.shape)}: give [{count}], degrees, one per sample")
        if not bool(torch.isfinite(angles).all()):
            raise InputError("some true angles are not finite: leave these samples out")
        return angles % 360

    def wrong(self, truth: Tensor) -> AngleCriterion:
        return AngleCriterion(truth, torch.full_like(truth, self.tolerance))

    def quality(self, answer: Tensor, truth: Tensor) -> Tensor:
        """Return 1 for the truth, 0 for the opposite direction, and what lies between in proportion."""
        return (1 - apart(answer.double(), truth) / 180).where(self.answered(answer), 0.0)

    def training_loss(self, scores: Tensor, truth: Tensor) -> Tensor:
        """Return the squared distance of the vectors to the unit vectors of the true angles, [n]."""
        turned = torch.deg2rad(truth).to(scores.dtype)
        return (scores - torch.stack([turned.cos(), turned.sin()], 1)).square().sum(1)

    def pack(self, answer: Tensor) -> list[str]:
        return [repr(one) if math.isfinite(one) else "" for one in answer.double().tolist()]

    def unpack(self, packed: list[str]) -> Tensor:
        return torch.tensor([float(text) if text else math.nan for text in packed], dtype=torch.float64)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "tolerance": self.tolerance}

    @classmethod
    def restore(cls, description: dict[str, Any]) -> "Angle":
        return cls(description["tolerance"])

    def __str__(self) -> str:
        return "an angle"
