"""D9: is the softmax so saturated that cross-entropy loses its gradient? Costs nothing: shared forward."""

from sparring.diagnosis.doctor import Opinion, Subject, check

GAP = 30.0  # logits; beyond it the runner-up has a probability below 1e-13
SOME = 0.25  # share of samples with p = 1 or a gap above GAP; plainly trained networks have some
MANY = 0.5  # share of samples with a gap above GAP


@check(code="D9", title="Saturation", needs={"gradients", "scores"})
def saturation(subject: Subject) -> Opinion:
    """Count samples whose softmax is saturated in float32, where gradients vanish.

    They have p_y exactly 1 in float32, or the best two logits far apart; the value is their share.
    """
    scores = subject.clean.scores
    assert scores is not None  # granted by `needs`
    scores = scores.float()
    chances = scores if subject.probabilities else scores.softmax(1)
    full = chances.gather(1, subject.y[:, None].to(scores.device)).squeeze(1) == 1
    best = scores.topk(min(2, scores.shape[1]), dim=1).values
    wide = best[:, 0] - best[:, -1] > GAP
    count = len(subject)
    value = float((full | wide).double().mean())
    sure, apart = int(full.sum()), int(wide.sum())
    seen = f"{sure} of {count} samples have a probability of exactly 1 and {apart} a gap above {GAP:g} between the best two scores."
    cure = "Attack with the margin or DLR loss, or divide the logits by their scale: the gradient of cross-entropy is zero there."
    if apart > MANY * count:
        return Opinion("bad", seen, cure, value, SOME)
    if value > SOME:
        return Opinion("caution", seen, cure, value, SOME)
    return Opinion("ok", seen, value=value, threshold=SOME)
