"""Semantic segmentation: one class per pixel."""

import base64
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparring.core.errors import InputError, LoadError, NeedsError, RecordError
from sparring.core.registry import register
from sparring.core.task import Task
from sparring.tasks.classes import label_of, logit_gap
from sparring.tasks.parts import VOID, answered, at_least, deciding_loss, enough_met, number_among

MOST_PIXELS = 1 << 26
"""The largest mask that is unpacked, so that a forged record cannot fill the memory."""

OUTPUTS = ("out", "logits")
"""Names of the scores in the outputs of segmentation models: that of torchvision and that of transformers."""


class MaskCriterion(NamedTuple):
    """Represent the goal that too few pixels are correct.

    truth: int64 [n, H, W], the true class per pixel, VOID if a pixel does not count. spare: int64 [n], the largest number of counted pixels
    that may be correct if the goal is met.
    """

    truth: Tensor
    spare: Tensor

    def take(self, rows: Tensor) -> "MaskCriterion":
        """Return the criterion for some of the samples."""
        return MaskCriterion(self.truth[rows], self.spare[rows])

    @property
    def counted(self) -> Tensor:
        """Return the pixels that count, bool [n, H, W]."""
        return self.truth >= 0

    def gaps(self, scores: Tensor) -> Tensor:
        """Return the score of the true class minus the best other one, [n, H, W].

        It is positive if a pixel is correct, and -inf if it does not count.
        """
        return pixel_gaps(scores, self.truth).masked_fill(~self.counted, -math.inf)

    def loss(self, scores: Tensor) -> Tensor:
        """Return minus the gap of the deciding pixel, [n].

        The deciding pixel has rank `spare` + 1 among the gaps in descending order. The goal is met exactly if this pixel is wrong.

        The value depends on this pixel alone. The gradient is the mean over the pixels whose gap lies between that of this pixel and 0. These pixels
        still have to become wrong (or, if the goal is met, would have to become correct again).
        """
        return deciding_loss(self.gaps(scores).flatten(1), self.counted.flatten(1), self.spare)

    def met(self, answer: Tensor) -> Tensor:
        """Return whether too few pixels are correct, bool [n]."""
        return enough_met((answer == self.truth) & self.counted, answer, self.spare)

    def aimed(self) -> list[str | None]:
        """Return the answers to reach: there are none."""
        return [None] * len(self.truth)


@register("task", "mask")
@dataclass(frozen=True)
class Mask(Task):
    """Represent one of `count` classes per pixel, numbered from 0.

    Scores are [n, count, H, W], an answer and the truth int64 [n, H, W]. Pixels with `ignore` or -1 in the truth do not count. An answer is wrong if
    less than `share` of the pixels that count are correct. Its quality is the mean intersection over union of the classes that occur in the truth or
    in the answer; a class that is absent from both is excluded.

    Args:
        count: The number of classes; None if the model determines it.
        share: Share of the counted pixels that must be correct, in (0, 1]; with 1, a single wrong pixel makes an answer wrong.
        ignore: The value of pixels that do not count.
        names: Names of the classes, in order; empty if they have numbers only.
        size: (height, width) of a mask; None if the model determines it.
    """

    count: int | None = None
    share: float = 0.5
    ignore: int = 255
    names: tuple[str, ...] = ()
    size: tuple[int, int] | None = None

    kind: ClassVar[str] = "mask"

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(map(str, self.names)))
        if self.count is None and self.names:
            object.__setattr__(self, "count", len(self.names))
        if self.count is not None and (isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 2):
            raise InputError(f"mask({self.count!r}): give the number of classes, a whole number of at least 2")
        if isinstance(self.share, bool) or not isinstance(self.share, int | float) or not 0 < self.share <= 1:
            raise InputError(f"share={self.share!r}: give the share of correct pixels that an answer needs, above 0 and at most 1")
        if isinstance(self.ignore, bool) or not isinstance(self.ignore, int):
            raise InputError(f"ignore={self.ignore!r}: give the whole number that marks pixels which do not count")
        if self.count is not None and 0 <= self.ignore < self.count:
            raise InputError(f"ignore={self.ignore} is one of the classes 0 to {self.count - 1}: give a value that is none of them, such as -1")
        if self.size is not None and not (
            isinstance(self.size, tuple | list) and len(self.size) == 2 and all(type(one) is int and one >= 1 for one in self.size)
        ):
            raise InputError(f"size={self.size!r}: give the height and the width of a mask in pixels, size=(64, 64), or leave it out")
        if self.size is not None:
            object.__setattr__(self, "size", (self.size[0], self.size[1]))
        if self.names and len(self.names) != self.count:
            raise InputError(f"{len(self.names)} names ({', '.join(self.names[:5])}) for {self.count} classes: give one name per class, or none")

    @property
    def score_shape(self) -> tuple[int, ...]:
        if self.count is None or self.size is None:
            raise NeedsError("the number of classes or the size of the masks is not known: write mask(21, size=(height, width))")
        return (self.count, *self.size)

    def name_of(self, number: int) -> str:
        """Return the name of a class."""
        return self.names[number] if 0 <= number < len(self.names) else f"class {number}"

    def number_of(self, written: int | str) -> int:
        """Return the number of the class with this name or number; InputError where there is none."""
        return number_among(written, self.names, self.count, "class", "classes")

    def scores(self, output: Any, name: str) -> Tensor:
        """Return scores [n, count, H, W].

        A dictionary (or an object with attributes) gives them under "out" or "logits". One channel, or none, is the score of class 1 against 0.
        """
        found = _named(output, name)
        try:
            scores = found if isinstance(found, Tensor) else torch.as_tensor(found)
        except (TypeError, ValueError, RuntimeError) as error:
            raise LoadError(
                f'{name} returned a {type(found).__name__}: give scores [n, classes, height, width], or a dictionary with them under "out"'
            ) from error
        if scores.ndim == 3:
            scores = scores[:, None]
        if scores.ndim != 4 or not scores.is_floating_point():
            cure = "give the logits and not their argmax" if scores.ndim == 4 or not scores.is_floating_point() else "the classes come second"
            raise LoadError(f"{name} returned {scores.dtype} {tuple(scores.shape)}: scores must be floating point [n, classes, height, width]; {cure}")
        return torch.cat([torch.zeros_like(scores), scores], 1) if scores.shape[1] == 1 else scores

    def fitted(self, scores: Tensor, name: str) -> "Mask":
        count, *size = scores.shape[1:]
        if self.count is not None and count != self.count:
            raise LoadError(f"{name} gives {count} scores per pixel, but the task has {self.count} classes: change one of them")
        if self.size is not None and tuple(size) != self.size:
            raise LoadError(f"{name} gives masks of {size[0]} x {size[1]}, but the task has {self.size[0]} x {self.size[1]}: scale the scores inside the model")
        return replace(self, count=int(count), size=(int(size[0]), int(size[1])))

    def told(self, known: Task) -> "Mask":
        """Return this task with the names and the size of the masks of the data.

        Raises:
            InputError: Where model and data do not mean the same by a wrong answer.
        """
        if not isinstance(known, Mask):
            return self
        if known.share != self.share:
            raise InputError(
                f"the model's task has share={self.share:g}, but the task of the data has share={known.share:g}: "
                f"give model and data the same task=mask(share=...)"
            )
        names = known.names if not self.names and self.count in (None, known.count) else self.names
        return replace(self, names=names, size=self.size or known.size)

    def answer(self, scores: Tensor) -> Tensor:
        """Return int64 [n, H, W]; VOID on the whole mask where one of its scores is NaN or +inf."""
        labels = label_of(scores)
        return labels.where(answered(labels)[:, None, None], VOID)

    def as_answer(self, truth: Tensor) -> Tensor:
        return truth.clamp_min(0)

    def answered(self, answer: Tensor) -> Tensor:
        return answered(answer)

    def no_answer(self, like: Tensor) -> Tensor:
        size = self.size or (tuple(like.shape[-2:]) if like.ndim >= 3 else (1, 1))
        return torch.full((len(like), *size), VOID, dtype=torch.int64, device=like.device)

    def check(self, truth: Any, count: int) -> Tensor:
        """Return the true masks as int64 [count, H, W], VOID where a pixel does not count."""
        try:
            masks = truth if isinstance(truth, Tensor) else torch.as_tensor(np.asarray(truth))
        except (TypeError, ValueError) as error:
            raise InputError(f"masks are not numbers ({str(truth)[:60]}): give one class per pixel, [n, height, width]") from error
        if masks.ndim == 4 and masks.shape[1] == 1:
            masks = masks[:, 0]
        if masks.ndim != 3:
            raise InputError(f"masks have shape {tuple(masks.shape)}: give one class per pixel, [{count}, height, width] (not one-hot)")
        if len(masks) != count:
            raise InputError(f"{len(masks)} masks for {count} samples: give one mask per sample")
        if self.size is not None and tuple(masks.shape[1:]) != self.size:
            shown = " x ".join(map(str, masks.shape[1:]))
            raise InputError(f"masks are {shown}, but the model answers {self.size[0]} x {self.size[1]}: scale the masks, or the scores inside the model")
        whole = masks.to(torch.int64)
        if masks.is_complex() or not bool((whole == masks).all()):
            raise InputError(f"masks must hold whole numbers, got {masks.dtype} such as {masks[whole != masks][:3].tolist()}: number classes from 0 on")
        whole = whole.where(whole != self.ignore, VOID)
        low, high = (int(whole.min()), int(whole.max())) if whole.numel() else (0, 0)
        if low < VOID or (self.count is not None and high >= self.count):
            classes = f"0 to {self.count - 1}" if self.count else "numbered from 0"
            marks = f"pixels that do not count are {self.ignore} or -1"
            raise InputError(f"masks hold values in [{low}, {high}] but the classes are {classes}, and {marks}: correct the masks, or ignore=")
        empty = (~(whole >= 0).flatten(1).any(1)).nonzero().flatten().tolist()
        if empty:
            raise InputError(f"mask {empty[0]} has no pixel that counts ({len(empty)} such masks): leave these samples out")
        return whole

    def wrong(self, truth: Tensor) -> MaskCriterion:
        return MaskCriterion(truth, at_least(self.share, truth >= 0) - 1)

    def quality(self, answer: Tensor, truth: Tensor) -> Tensor:
        """Return the mean intersection over union of each mask.

        Classes that are absent from both are left out.
        """
        hits, union = overlaps(answer, truth, self.count)
        found = union > 0
        shares = hits / union.clamp_min(1)
        return (shares.where(found, 0.0).sum(1) / found.sum(1).clamp_min(1)).where(answered(answer), 0.0)

    @property
    def mistake(self) -> str:
        if self.share == 1:
            return "a single pixel that counts is wrong"
        return f"fewer than {100 * self.share:g} % of the pixels that count are right"

    def named(self, packed: str) -> str:
        """Return how much of a mask each class takes: "cell 78 %, membrane 22 %"; the largest three."""
        if not packed:
            return "no answer"
        found, pixels = np.unique(_unpacked(packed), return_counts=True)
        counted = sorted(((int(many), int(label)) for label, many in zip(found, pixels, strict=True) if label != VOID), reverse=True)
        whole = sum(many for many, _ in counted) or 1
        said = [f"{self.name_of(label)} {100 * many / whole:.0f} %" for many, label in counted[:3]]
        return ", ".join(said + ([f"{len(counted) - 3} more"] if len(counted) > 3 else []))

    def pack(self, answer: Tensor) -> list[str]:
        """Return strings such as "128x128 1 eNpj...".

        They hold the size, the bits per pixel, then base64 of deflated pixels.
        """
        return [_packed(mask) if bool((mask != VOID).any()) else "" for mask in answer.cpu().numpy()]

    def unpack(self, packed: list[str]) -> Tensor:
        masks = [_unpacked(one) if one else None for one in packed]
        size = self.size or next((mask.shape for mask in masks if mask is not None), (1, 1))
        nothing = np.full(size, VOID, dtype=np.int64)
        return torch.from_numpy(np.stack([nothing if mask is None else mask for mask in masks]) if masks else np.zeros((0, *size), dtype=np.int64))

    def describe(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "count": self.count, "share": self.share, "ignore": self.ignore, "names": list(self.names),
            "size": list(self.size) if self.size else None,
        }  # fmt: skip

    @classmethod
    def restore(cls, description: dict[str, Any]) -> "Mask":
        size = description.get("size")
        return cls(description["count"], description["share"], description["ignore"], tuple(description["names"]), (size[0], size[1]) if size else None)

    def __str__(self) -> str:
        classes = "masks" if self.count is None else f"masks of {self.count} classes"
        return f"{classes}, {self.size[0]} x {self.size[1]}" if self.size else classes


def mask(count: int | None = None, *, share: float = 0.5, ignore: int = 255, names: Sequence[str] = (), size: tuple[int, int] | None = None) -> Mask:
    """Return the task of telling the class of every pixel.

    Args:
        count: The number of classes; the model tells where it is left out.
        share: An answer is wrong where less than this share of the pixels that count are right, in (0, 1].
        ignore: The value of pixels that do not count; -1 does not count either.
        names: Of the classes, in order.
        size: (height, width) of a mask; the model tells where it is left out.

    Example:
        >>> str(mask(2, names=["membrane", "cell"]))
        'masks of 2 classes'
    """
    return Mask(count, share, ignore, tuple(names), size)


def pixel_gaps(scores: Tensor, truth: Tensor) -> Tensor:
    """Return per pixel the score of the true class minus the best other one, [n, H, W].

    Where the truth is VOID the value means nothing.
    """
    if scores.shape[1] == 2:  # half the memory, and no copy of the scores
        return (scores[:, 0] - scores[:, 1]) * (1 - 2 * truth.clamp_min(0)).to(scores.dtype)
    return logit_gap(scores, truth.clamp_min(0))


def overlaps(answer: Tensor, truth: Tensor, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Return (intersections, unions) in pixels that count, float64 [n, classes].

    The masks are int64 [n, H, W] each.
    """
    classes = count or int(max(answer.max(), truth.max(), torch.tensor(0))) + 1 if len(answer) else count or 1
    counted = (truth >= 0).flatten(1)
    rows = torch.arange(len(truth), device=truth.device)[:, None] * classes

    def sizes(labels: Tensor, among: Tensor) -> Tensor:
        return (
            torch.bincount((rows + labels.flatten(1))[among & (labels.flatten(1) >= 0)], minlength=len(truth) * classes).reshape(len(truth), classes).double()
        )

    hits = sizes(truth, counted & (answer == truth).flatten(1))
    return hits, sizes(truth, counted) + sizes(answer, counted) - hits


def _named(output: Any, name: str) -> Any:
    """The scores among what a model gave."""
    if isinstance(output, dict):
        for key in OUTPUTS:
            if key in output:
                return output[key]
        raise LoadError(f'{name} returned a dictionary with {", ".join(map(str, list(output)[:5]))}: give the scores under "out", or return them alone')
    return getattr(output, "logits", output) if not isinstance(output, Tensor | np.ndarray) else output


PACKED = re.compile(r"(\d{1,6})x(\d{1,6}) (1|8|16) ([A-Za-z0-9+/=]*)")
"""Height, width, bits per pixel, content. With 1 bit the pixels are classes; with more they are classes plus 1, so that VOID is 0."""


def _packed(pixels: np.ndarray) -> str:
    low, high = int(pixels.min()), int(pixels.max())
    if low >= 0 and high <= 1:
        bits, content = 1, np.packbits(pixels.astype(bool))
    else:
        bits = 8 if high < 255 else 16
        content = (pixels + 1).astype(np.uint8 if bits == 8 else "<u2")
    return f"{pixels.shape[0]}x{pixels.shape[1]} {bits} {base64.b64encode(zlib.compress(content.tobytes(), 9)).decode()}"


def _unpacked(written: str) -> np.ndarray:
    """A mask from its string, int64 [H, W]; RecordError where it is no such string."""
    found = PACKED.fullmatch(written)
    height, width, bits = (int(found[place]) for place in (1, 2, 3)) if found else (0, 0, 0)
    if found is None or not 0 < height * width <= MOST_PIXELS:
        raise RecordError(f"{written[:40]!r} is not a packed mask: delete the part of the record that holds it and run the same command again")
    expected = (height * width * bits + 7) // 8
    try:
        reader = zlib.decompressobj()
        content = reader.decompress(base64.b64decode(found[4], validate=True), expected + 1)
    except (zlib.error, ValueError) as error:
        raise RecordError(f"a packed mask of {height} x {width} is broken ({error}): delete the part of the record that holds it and run it again") from error
    if len(content) != expected:
        raise RecordError(f"a packed mask of {height} x {width} holds {len(content)} bytes, expected {expected}: delete the part and run it again")
    if bits == 1:
        return np.unpackbits(np.frombuffer(content, np.uint8), count=height * width).astype(np.int64).reshape(height, width)
    return np.frombuffer(content, np.uint8 if bits == 8 else "<u2").astype(np.int64).reshape(height, width) - 1
