"""D4: are the inputs in the range that the model was trained for? Costs up to 3 forwards beside the shared one."""

import math

import numpy as np
import torch
from torch import Tensor

from sparring.diagnosis.doctor import Opinion, Subject, check

FEW = 10  # samples below which an accuracy says nothing about chance
GAIN = 0.1  # accuracy


@check(code="D4", title="Input range and normalisation", needs={"labels"})
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
    accuracy, chance = float(right.double().mean()), 1 / subject.victim.classes
    bar = chance + 2 * math.sqrt(chance * (1 - chance) / count)
    for said, other in _rescaled(subject.x):
        better = _right(subject, other)
        gained, lost = int((better & ~right).sum()), int((right & ~better).sum())
        clear = gained - lost > max(GAIN * count, 2 * math.sqrt(gained + lost))
        if clear and int(better.sum()) > (bar + GAIN) * count:
            seen = f"{int(right.sum())} of {count} answers are right on the inputs as given, but {int(better.sum())} on the inputs {said}."
            cure = "Normalise exactly once, inside the model, with the constants used in training."
            return Opinion("bad", seen, cure, (gained - lost) / count, GAIN)
    if count >= FEW and accuracy <= bar:
        seen = f"{int(right.sum())} of {count} answers are right, no better than guessing among {subject.victim.classes} classes."
        return Opinion("bad", seen, "Check the order of labels and channels, the scaling and the weights.", accuracy, bar)
    return Opinion("ok", f"All {count} inputs lie in the domain and {int(right.sum())} answers are right.", value=accuracy, threshold=bar)


def _right(subject: Subject, x: object) -> Tensor:
    answers = subject.clean if x is subject.x else subject.ask(x)
    return answers.labels.cpu() == subject.y.cpu()


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
