"""D22: do queries break what gradients leave standing? Costs 82 passes with gradients and 200 forwards."""

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
        return Opinion("ok", "Gradients leave nothing standing.", value=0.0, threshold=SLACK)
    extra = int(attempt(subject, search, rows=left.rows).broken.sum())
    seen = f"{QUERIES} queries break {extra} of the {len(left.rows)} samples that gradients left standing."
    if notable(extra, left.count):
        cure = "Gradients are masked: spend more queries, and mend the gradients by EOT or BPDA."
        return Opinion("bad", seen, cure, extra / left.count, SLACK)
    return Opinion("ok", seen, value=extra / left.count, threshold=SLACK)
