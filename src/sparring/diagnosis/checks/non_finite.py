"""D7: are scores and gradients finite? Costs nothing beyond the shared forward and gradient."""

import torch
from torch import Tensor

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check


@check(code="D7", title="Non-finite scores or gradients", needs={"labels"}, tasks=EVERY_TASK)
def non_finite(subject: Subject) -> Opinion:
    """Count samples with NaN or infinite scores or gradients.

    A score of -inf is a class ruled out, and only worth a look.
    """
    count, scores = len(subject), subject.clean.scores
    mute = int((subject.clean.labels < 0).sum())
    ruled_out = 0 if scores is None else _rows(~torch.isfinite(scores)) - mute
    graded = "gradients" in subject.offers & subject.threat.grants
    wild = _rows(~torch.isfinite(subject.gradient(next(iter(subject.losses))).grad)) if graded else 0
    if mute or wild:
        seen = f"{mute} of {count} samples have NaN or infinite scores and {wild} have NaN or infinite gradients."
        cure = "Find the division, logarithm or overflow that causes them (torch.autograd.set_detect_anomaly) and fix it: gradient attacks need finite values."
        return Opinion("bad", seen, cure, float(max(mute, wild)), 0.0)
    if ruled_out:
        seen = f"{ruled_out} of {count} samples have a score of -inf."
        return Opinion("caution", seen, "Use a finite low score for excluded classes.", float(ruled_out), 0.0)
    return Opinion("ok", f"All scores and gradients of {count} samples are finite.", value=0.0, threshold=0.0)


def _rows(flags: Tensor) -> int:
    return int(flags.flatten(1).any(1).sum())
