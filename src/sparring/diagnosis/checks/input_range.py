"""D4: are the inputs in the range that the model was trained for? Costs up to 3 forwards beside the shared one."""

import math

import numpy as np
import torch
from torch import Tensor

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check

FEW = 10  # samples below which an accuracy says nothing about chance
GAIN = 0.1  # accuracy
CONSTANTS = 16  # true answers, each of which is tried as the answer to everything


@check(code="D4", title="Input range and normalisation", needs={"labels"}, tasks=EVERY_TASK)
def input_range(subject: Subject) -> Opinion:
    """Check that inputs lie in the domain and that the model is most accurate on their scale.

    Inputs outside the domain, far more right answers on inputs scaled otherwise, and an accuracy no better than guessing are reported.
    """
    count, domain = len(subject), subject.victim.domain
    outside = int((~np.asarray(domain.valid(subject.x))).sum())
    if outside:
        seen = f"{outside} of {count} inputs lie outside the domain ({domain})."
        return Opinion("bad", seen, "Move the normalisation into the model and give raw inputs, or give the true bounds.", outside / count, 0.0)
    right = _right(subject, subject.x)
    accuracy, chance = float(right.double().mean()), _chance(subject)
    bar = chance + 2 * math.sqrt(chance * (1 - chance) / count)
    for said, other in _rescaled(subject.x):
        better = _right(subject, other)
        gained, lost = int((better & ~right).sum()), int((right & ~better).sum())
        clear = gained - lost > max(GAIN * count, 2 * math.sqrt(gained + lost))
        if clear and int(better.sum()) > (bar + GAIN) * count:
            seen = f"{int(right.sum())} of {count} answers are right on the inputs as given, but {int(better.sum())} on the inputs {said}."
            cure = "Normalise exactly once, inside the model, with the constants used in training."
            return Opinion("bad", seen, cure, (gained - lost) / count, GAIN)
    if count >= FEW and (subject.victim.task.kind != "classes"):
        own, constant = _qualities(subject)
        if own <= constant:
            seen = f"The answers have a quality of {own:.3g} (mean), no more than {constant:.3g} for the best of {CONSTANTS} answers given to every sample."
            return Opinion("bad", seen, "Check the order of channels and outputs, the scaling and unit of the truth, and the weights.", own, constant)
    elif count >= FEW and accuracy <= bar:
        seen = f"{int(right.sum())} of {count} answers are right, no better than guessing among {subject.victim.classes} classes."
        return Opinion("bad", seen, "Check the order of labels and channels, the scaling and the weights.", accuracy, bar)
    return Opinion("ok", f"All {count} inputs lie in the domain and {int(right.sum())} answers are right.", value=accuracy, threshold=bar)


def _chance(subject: Subject) -> float:
    """The share of right answers of somebody who guesses; 0 where answers are no classes, and nobody guesses them."""
    return 1 / subject.victim.classes if subject.victim.task.kind == "classes" else 0.0


def _qualities(subject: Subject) -> tuple[float, float]:
    """The mean quality of the answers, and of the best of some true answers given to every sample."""
    truth = subject.y
    constants = [truth[place : place + 1].expand_as(truth).clone() for place in range(min(CONSTANTS, len(truth)))]
    if truth.is_floating_point():
        constants.append(truth.mean(0, keepdim=True).expand_as(truth))
    found = [float(subject.task.quality(one.clamp_min(0) if not one.is_floating_point() else one, truth).mean()) for one in constants]
    answers = subject.victim.answer(subject.x).to(truth.device)
    return float(subject.task.quality(answers, truth).mean()), max(found)


def _right(subject: Subject, x: object) -> Tensor:
    return subject.right(subject.clean if x is subject.x else subject.ask(x)).cpu()


def _rescaled(x: object) -> list[tuple[str, Tensor]]:
    """The inputs as they would be had somebody normalised once more, or once less. Only where a sample
    has channels and places: columns of a table do not share a scale."""
    if not isinstance(x, Tensor) or x.ndim < 3 or not x.is_floating_point():
        return []
    places = [0, *range(2, x.ndim)]
    mean, spread = x.mean(places, keepdim=True), x.std(places, keepdim=True, correction=0)
    wide = float(x.max()) > 2
    rescaled = [("divided by 255", x / 255) if wide else ("multiplied by 255", x * 255)]
    if bool((spread > 0).all()):
        rescaled += [("normalised by mean and deviation", (x - mean) / spread), ("with one normalisation undone", x * spread + mean)]
    return [(said, other) for said, other in rescaled if bool(torch.isfinite(other).all())]
