"""Certify patches by masks: some mask covers any patch, and all masks agree.

This is PatchCleanser: the image under a mask that covers the patch and any other mask is that of the clean image.
"""

import math
import time
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sparring.certification.certificate import Certificate, Verdict
from sparring.certification.certifier import Limit, certifier
from sparring.certification.smoothing.patch_smoothing import EQUAL_ANSWERS, _check_images
from sparring.core.errors import AccessError, PlanError
from sparring.core.foreign import in_our_words
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.core.wrapped import Wrapped
from sparring.models.wanted import VictimLike, victim_of
from sparring.tasks.classes import ClassCriterion, of_classes
from sparring.threats.patch import Patch


def spans(length: int, patch: int, count: int) -> list[tuple[int, int]]:
    """Return the intervals that masks cover along one side.

    At most `count` intervals [from, to) of one size within [0, length), such that every interval of `patch` places lies within one of them.

    Stride s = ceil((length - patch + 1) / count), size m = patch + s - 1 (Xiang et al. 2022, R-covering mask sets); the last one ends at the edge.

    >>> spans(10, 3, 3)
    [(0, 5), (3, 8), (5, 10)]
    """
    if not 1 <= patch <= length or count < 1:
        raise PlanError(f"masks for a patch of {patch} in {length} pixels, {count} per side: give 1 <= patch <= side of the image, and at least one mask")
    stride = math.ceil((length - patch + 1) / count)
    size = patch + stride - 1
    starts = sorted({min(start, length - size) for start in range(0, length - patch + 1, stride)})
    return [(start, start + size) for start in starts]


class CleansedVictim(Wrapped):
    """Represent a victim with two rounds of masks.

    Another victim behind two rounds of masks (Xiang, Mahloujifar, Mittal 2022, arXiv:2108.09135, algorithm 1). Labels only.

    First round: one mask at a time. If all agree, that is the answer. Else each mask that disagrees with the majority gets a second round, one
    more mask at a time; the first whose second round agrees with it throughout is the answer, and without one the majority is.
    "No answer" counts as a class of its own.
    """

    def __init__(self, inner: Victim, patch: int, masks: int, fill: float):
        super().__init__(inner)
        self.exposes, self.exact, self.slack = frozenset({"labels"}), True, math.inf
        self.patch, self.masks, self.fill = patch, masks, fill
        self.price = len(self.covers) ** 2

    @cached_property
    def covers(self) -> Tensor:
        """Return the pixels that each mask hides, bool [k, height, width]."""
        height, width = self.domain.shape[1:]  # type: ignore[attr-defined]
        made = torch.zeros(0, height, width, dtype=torch.bool)
        for top, bottom in spans(height, self.patch, self.masks):
            for left, right in spans(width, self.patch, self.masks):
                one = torch.zeros(1, height, width, dtype=torch.bool)
                one[:, top:bottom, left:right] = True
                made = torch.cat([made, one])
        return made

    def scores(self, x: Tensor) -> Tensor:
        raise AccessError(f"{self.name} with masks exposes labels, not scores: use attacks that need labels only")

    def answer(self, x: Tensor) -> Tensor:
        answers = [self._label_of(image) for image in x]
        return torch.tensor(answers, dtype=torch.int64, device=x.device)

    def under(self, image: Tensor, first: int) -> Tensor:
        """Return the labels of an image under mask `first` and each of all masks, int64 [k].

        image: [channels, height, width].
        """
        covers = self.covers.to(image.device)
        hidden = (covers | covers[first])[:, None]
        return self.inner.label(torch.where(hidden, self.fill, image)).cpu()

    def alone(self, image: Tensor) -> Tensor:
        """Return labels of an image under each mask, int64 [k]."""
        return self.inner.label(torch.where(self.covers.to(image.device)[:, None], self.fill, image)).cpu()

    @property
    def settings(self) -> dict[str, Any]:
        return {"patch": self.patch, "masks": len(self.covers), "masks_per_side": self.masks, "fill": self.fill}

    def _label_of(self, image: Tensor) -> int:
        first = self.alone(image)
        classes, counts = first.unique(return_counts=True)
        majority = int(classes[counts.argmax()])
        for place in (first != majority).nonzero().flatten().tolist():
            if bool((self.under(image, place) == first[place]).all()):
                return int(first[place])
        return majority


@in_our_words
def patch_cleanser(victim: VictimLike, patch: int, *, masks: int = 6, fill: float = 0.0) -> CleansedVictim:
    """Return the victim with two rounds of masks, which can be certified against one patch.

    Args:
        victim: A model of images; it does best if it was trained on images with such masks.
        patch: The largest side of the patch, in pixels.
        masks: Masks along each side, at least 1. More of them are smaller, so they hide less; an answer costs at most masks^4 passes of the model.
        fill: The value that the masks show.

    Returns:
        The victim behind the masks, to attack and to certify.

    Raises:
        PlanError: For inputs that are no images, and for a patch or masks that do not fit the image.

    Example:
        >>> from sparring.models.load import load_model
        >>> patch_cleanser(load_model("zoo:digits-plain"), 2, masks=3).classes
        10

    Source: Xiang et al. 2022, arXiv:2108.09135.
    """
    victim = victim_of(victim)
    _check_images("patch_cleanser", victim)
    height, width = victim.domain.shape[1:]  # type: ignore[attr-defined]
    if isinstance(patch, bool) or not isinstance(patch, int) or isinstance(masks, bool) or not isinstance(masks, int) or not math.isfinite(fill):
        raise PlanError(f"patch_cleanser(patch={patch!r}, masks={masks!r}, fill={fill!r}): give whole numbers for patch and masks, and a finite fill")
    spans(min(height, width), patch, masks)  # refuses what does not fit
    return CleansedVictim(victim, patch, masks, fill)


@certifier(
    "patch_cleanser",
    spaces=Limit((Patch,), "patch_cleanser certifies patch threats only: use sp.patch(5)"),
    victims=Limit((CleansedVictim,), "it certifies masked victims only: wrap the victim, patch_cleanser(victim, patch=5)"),
    cites="Xiang et al. 2022, arXiv:2108.09135",
    order=40,
)
def masks_agree(victim: Victim, x: Tensor, y: Tensor, threat: Threat, rng: Rng, *, seconds: float | None = None) -> list[Certificate]:
    """Certify samples whose class any two masks (and so any one) leave unchanged.

    There is one certificate per sample, for a `CleansedVictim` under a patch.

    Theorem 1 of the paper: the mask over the patch then shows the class in the first round; whatever else disagrees with the majority
    meets that mask in its second round and is contradicted. radius: the side that the masks cover.
    """
    assert isinstance(victim, CleansedVictim)  # `check` refuses others
    criterion, found = of_classes(threat.goal.freeze(y, victim.task, rng)), []
    with victim.session():
        for row, radius in enumerate(threat.space.radii(len(x)).tolist()):
            began = time.monotonic()
            deadline = math.inf if seconds is None else began + seconds
            found.append(_one(victim, x[row], criterion.take(torch.tensor([row])), threat, math.floor(radius + 1e-9), began, deadline))
    return found


def _one(victim: CleansedVictim, x: Tensor, criterion: ClassCriterion, threat: Threat, asked: int, began: float, deadline: float) -> Certificate:
    def unknown(reason: str, radius: float = 0.0) -> Certificate:
        return Certificate(Verdict.UNKNOWN, "patch_cleanser", radius, reason=reason, seconds=time.monotonic() - began, guarantee=EQUAL_ANSWERS)

    if not bool(torch.isfinite(x).all()):
        return unknown("the input has values that are NaN or infinite")
    label = int(victim.label(x[None]))
    if bool(criterion.met(torch.tensor([label], device=criterion.reference_class.device))):
        reason, spent = f"class {label} already without a change", time.monotonic() - began
        return Certificate(Verdict.REFUTED, "patch_cleanser", reason=reason, seconds=spent, guarantee=EQUAL_ANSWERS, counterexample=x)
    if label < 0:
        return unknown("the model gives no answer, because it returns NaN or abstains")
    for first in range(len(victim.covers)):
        if time.monotonic() > deadline:
            return unknown(f"time: the limit was reached after {first} of {len(victim.covers)} masks; give more seconds")
        seen = victim.under(x, first)
        if bool((seen != label).any()):
            second = int((seen != label).nonzero()[0])
            return unknown(f"under masks {first} and {second} the model answers {int(seen[second])}, not {label}")
    if asked > victim.patch:
        return unknown(f"the masks cover patches of up to {victim.patch} pixels, requested {asked}: patch_cleanser(victim, patch={asked})", float(victim.patch))
    return Certificate(Verdict.PROVED, "patch_cleanser", float(victim.patch), seconds=time.monotonic() - began, guarantee=EQUAL_ANSWERS)
