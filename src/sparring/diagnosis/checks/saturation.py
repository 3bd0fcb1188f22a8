"""D9: is the softmax so saturated that cross-entropy loses its gradient? Costs nothing: shared forward."""

import torch
from torch import Tensor

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, Verdict, check
from sparring.tasks.labels import Labels

GAP = 30.0  # logits; beyond it the runner-up has a probability below 1e-13
SOME = 0.25  # share of samples with p = 1 or a gap above GAP; plainly trained networks have some
MANY = 0.5  # share of samples with a gap above GAP


@check(code="D9", title="Saturation", needs={"gradients", "scores"}, tasks=EVERY_TASK)
def saturation(subject: Subject) -> Opinion:
    """Count samples, pixels or labels whose softmax is saturated in float32, and clipped values.

    Gradients vanish there. A sample is saturated if p_y is exactly 1 in float32, or if its best two logits are far apart; the value of the
    finding is the share of such samples. A value is clipped if it is exactly the lowest or highest of an output and several samples share it.
    """
    scores = subject.clean.scores
    assert scores is not None  # granted by `needs`
    found = subject.decisions(scores.float())
    if found is None:
        return _clipped(scores.flatten(1))
    scores = found.scores
    chances = scores if subject.probabilities else scores.softmax(1)
    full = chances.gather(1, found.truth[:, None]).squeeze(1) == 1
    best = scores.topk(min(2, scores.shape[1]), dim=1).values
    wide = best[:, 0] - best[:, -1] > GAP
    count, what = len(found.truth), subject.unit
    value = float((full | wide).double().mean())
    sure, apart = int(full.sum()), int(wide.sum())
    between = "between score and threshold" if isinstance(subject.task, Labels) else "between the best two scores"
    seen = f"{sure} of {count} {what} have a probability of exactly 1 and {apart} a gap above {GAP:g} {between}."
    cure = "Attack with the margin or DLR loss, or divide the logits by their scale: the gradient of cross-entropy is zero there."
    if apart > MANY * count:
        return Opinion("bad", seen, cure, value, SOME)
    if value > SOME:
        return Opinion("caution", seen, cure, value, SOME)
    return Opinion("ok", seen, value=value, threshold=SOME)


def _clipped(values: Tensor) -> Opinion:
    """Say how many values lie together exactly at an end of the range of their output."""
    count = len(values)
    ends = [(values == end).where((values == end).sum(0) > 1, torch.zeros_like(values, dtype=torch.bool)) for end in (values.amin(0), values.amax(0))]
    stuck = int((ends[0] | ends[1]).any(1).sum()) if bool((values != values[0]).any()) else count
    value = stuck / count
    seen = f"{stuck} of {count} samples have a value that lies exactly at the end of the range of its output, together with others."
    cure = "The output is clipped or saturated there and has no gradient: give the values as they are before, and clip outside of the model."
    verdict: Verdict = "bad" if value > MANY else "caution" if value > SOME else "ok"
    return Opinion(verdict, seen, cure if value > SOME else "Nothing to do.", value, SOME)
