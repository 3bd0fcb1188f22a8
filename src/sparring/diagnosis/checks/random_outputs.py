"""D1: does the model give the same answer to the same input? Costs 5 forwards, one of them shared."""

import torch

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check, compare

ASKED = 5


@check(code="D1", title="Random outputs", needs={"labels"}, tasks=EVERY_TASK)
def random_outputs(subject: Subject) -> Opinion:
    """Query each input five times and compare the answers (AutoAttack, checks.py).

    If predictions change, a single answer is meaningless.
    """
    count, tolerance = len(subject), subject.tolerance
    answers = [subject.clean, *(subject.ask(subject.x) for _ in range(ASKED - 1))]
    labels = torch.stack([one.labels for one in answers])
    changed = int((labels != labels[0]).any(0).sum())
    apart = max(compare(subject.clean, other).largest for other in answers[1:])
    cure = "Average gradients and answers over several draws (EOT), and judge success over repeated draws."
    if changed:
        seen = f"{changed} of {count} answers changed when the same input was evaluated {ASKED} times."
        return Opinion("bad", seen, cure, changed / count, 0.0)
    if apart > tolerance:
        seen = f"The scores of the same input differ by {apart:.2g} relative to their size over {ASKED} calls; no prediction changed."
        return Opinion("caution", seen, cure, apart, tolerance)
    return Opinion("ok", f"{ASKED} calls gave the same answers for all {count} samples.", value=apart, threshold=tolerance)
