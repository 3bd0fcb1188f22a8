"""D8: is the gradient exactly zero? Costs 3 forwards and backwards, one of them shared."""

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check

MANY = 0.1  # share of samples


@check(code="D8", title="Zero gradients", needs={"gradients"}, tasks=EVERY_TASK)
def zero_gradients(subject: Subject) -> Opinion:
    """Count samples whose gradient is all zero, for each loss.

    The value is their share; which losses vanish tells why.
    """
    if not subject.attached:
        return Opinion("not applicable", "No gradient reaches the input at all: see D6.")
    losses = [loss for loss in subject.losses if loss != "DLR" or subject.task.score_shape[0] >= 3]
    zero = {loss: (subject.gradient(loss).grad == 0).flatten(1).all(1) for loss in losses}
    if "DLR" in zero and subject.y.ndim == 1:  # it is flat by its formula where the label comes third
        third = subject.clean.scores.argsort(1, descending=True)[:, 2] if subject.clean.scores is not None else subject.y
        zero["DLR"] &= third.to(subject.y.device) != subject.y
    zero = {loss: int(rows.sum()) for loss, rows in zero.items()}
    count, worst = len(subject), max(zero.values())
    value = worst / count
    if worst == 0:
        return Opinion("ok", f"No gradient of {count} samples is zero ({', '.join(losses)}).", value=value, threshold=0.0)
    counts = ", ".join(f"{times} of {count} under {loss}" for loss, times in zero.items())
    seen = f"The gradient is zero for {counts}."
    others = min(zero.values()) if len(zero) == 1 else max(times for loss, times in zero.items() if loss != "cross-entropy")
    if min(zero.values()) > MANY * count:
        cure = "Steps, quantisation or dead units block it: replace them by a smooth substitute for the backward pass (BPDA), or use query attacks."
        return Opinion("bad", seen, cure, value, 0.0)
    if others < zero.get("cross-entropy", 0):
        return Opinion("caution", seen, "The softmax is saturated: attack with margin or DLR instead of cross-entropy.", value, 0.0)
    return Opinion("caution", seen, "Add random starts and a query attack: gradients alone cannot move these samples.", value, 0.0)
