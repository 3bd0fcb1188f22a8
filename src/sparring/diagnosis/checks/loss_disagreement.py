"""D25: does another loss break much more than cross-entropy? Costs 20 forwards and backwards for each loss."""

from sparring.diagnosis.doctor import Opinion, Subject, check
from sparring.diagnosis.probe import SLACK, attempt, losses, notable, unfit


@check(code="D25", title="Disagreement of losses", needs={"gradients", "scores"}, cost=200, tasks=frozenset({"classes", "labels", "mask"}))
def loss_disagreement(subject: Subject) -> Opinion:
    """Compare PGD on scale-free losses such as margin and DLR with PGD on cross-entropy."""
    if (no := unfit(subject, "pgd")) is not None:
        return no
    usual = attempt(subject, 'pgd(steps=20, loss="ce")').broken
    others = {
        loss: int(attempt(subject, f'pgd(steps=20, loss="{loss}")').broken.sum()) for loss in losses() if loss != "dlr" or subject.task.score_shape[0] > 2
    }
    best = max(others, key=lambda loss: others[loss])
    count, extra = len(usual), others[best] - int(usual.sum())
    seen = f"Cross-entropy breaks {int(usual.sum())} of {count} samples, the loss {best} breaks {others[best]}."
    if notable(extra, count):
        return Opinion("caution", seen, f"Attack with loss={best!r}, since the scale of the logits hides the gradient of cross-entropy.", extra / count, SLACK)
    return Opinion("ok", seen, value=extra / count, threshold=SLACK)
