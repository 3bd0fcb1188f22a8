"""D22: do query attacks break samples that gradient attacks do not? Costs 82 passes with gradients and 200 forwards."""

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check
from sparring.diagnosis.probe import SLACK, attempt, notable, square, standing, unfit

QUERIES = 200


@check(code="D22", title="Queries against gradients", needs={"gradients", "scores"}, cost=400, tasks=EVERY_TASK)
def queries_against_gradients(subject: Subject) -> Opinion:
    """Run the square attack on the samples that PGD did not break.

    PGD runs on cross-entropy and on the margin (AutoAttack's flag, Croce and Hein 2020).
    """
    if (no := unfit(subject, "pgd")) is not None:
        return no
    search = square(subject, QUERIES)
    if search is None:
        return Opinion("not applicable", "No random search fits this threat.")
    left = standing(subject)
    if not len(left.rows):
        return Opinion("ok", "Gradient attacks break every sample.", value=0.0, threshold=SLACK)
    extra = int(attempt(subject, search, rows=left.rows).broken.sum())
    seen = f"{QUERIES} queries break {extra} of the {len(left.rows)} samples that gradient attacks do not break."
    if notable(extra, left.count):
        cure = "Gradients are masked: use more queries, and repair the gradients with EOT or BPDA."
        return Opinion("bad", seen, cure, extra / left.count, SLACK)
    return Opinion("ok", seen, value=extra / left.count, threshold=SLACK)
