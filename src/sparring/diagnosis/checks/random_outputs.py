"""D1: does the model answer the same question twice in the same way? Costs 5 forwards, one of them shared."""

import torch

from sparring.diagnosis.doctor import Opinion, Subject, check, compare

ASKED = 5


@check(code="D1", title="Random outputs", needs={"labels"})
def random_outputs(subject: Subject) -> Opinion:
    """Ask five times, and count samples whose scores differ (AutoAttack, checks.py).

    Predictions that change make a single answer worthless.
    """
    count, tolerance = len(subject), subject.tolerance
    answers = [subject.clean, *(subject.ask(subject.x) for _ in range(ASKED - 1))]
    labels = torch.stack([one.labels for one in answers])
    changed = int((labels != labels[0]).any(0).sum())
    apart = max(compare(subject.clean, other).largest for other in answers[1:])
    cure = "Average gradients and answers over several draws (expectation over transformation) and judge over repeated draws."
    if changed:
        seen = f"{changed} of {count} answers changed when the same input was asked {ASKED} times."
        return Opinion("bad", seen, cure, changed / count, 0.0)
    if apart > tolerance:
        seen = f"The scores of the same input differ by {apart:.2g} relative to their size over {ASKED} calls; no prediction changed."
        return Opinion("caution", seen, cure, apart, tolerance)
    return Opinion("ok", f"{ASKED} calls gave the same answers for all {count} samples.", value=apart, threshold=tolerance)
