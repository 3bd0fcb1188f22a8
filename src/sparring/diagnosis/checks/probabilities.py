"""D2: are the scores probabilities instead of logits? Costs nothing: shared forward."""

from torch import Tensor

from sparring.diagnosis.doctor import Opinion, Subject, check
from sparring.tasks.labels import Labels

FULL = 0.1  # share of samples with a probability of exactly 1: their gradient through the softmax is lost


@check(code="D2", title="Probabilities instead of logits", needs={"scores"}, tasks=frozenset({"classes", "labels", "mask"}))
def probabilities(subject: Subject) -> Opinion:
    """Check whether all scores lie in [0, 1] and each row sums to 1 (AutoAttack, checks.py).

    Scores of labels need not sum to 1: they are probabilities if all of them lie in [0, 1]. The answers are wrong then, since a label counts as present
    if its score is positive.
    """
    scores = subject.clean.scores
    assert scores is not None  # granted by `needs`
    if isinstance(subject.task, Labels):
        return _of_labels(subject.task.unshifted(scores), subject.task.probabilities)
    if scores.ndim == 2 and scores.shape[1] == 2 and not bool(scores[:, 0].any()) and bool(((scores >= 0) & (scores <= 1)).all()):
        seen = "The one score lies in [0, 1] for every sample, as a probability does, but it is read as a logit: every score above 0 is class 1."
        return Opinion("bad", seen, "Return two columns, the probabilities of class 0 and class 1, or the logit.", 1.0, 1.0)
    found = subject.decisions(scores)
    assert found is not None  # granted by `tasks`
    largest = float((found.scores.double().sum(1) - 1).abs().max())
    if not subject.probabilities:
        return Opinion("ok", "The scores are not probabilities.", value=largest, threshold=1e-5)
    if "gradients" not in subject.offers:
        return Opinion("ok", "The scores are probabilities, as expected of a model without gradients.", value=largest, threshold=1e-5)
    full = int((found.scores.float().amax(1) == 1).sum())
    seen = f"All scores lie in [0, 1] and sum to 1; {full} of {len(found.truth)} {subject.unit} have a probability of exactly 1."
    cure = "Remove the final softmax and return logits, or return log probabilities computed by log_softmax."
    return Opinion("bad" if full > FULL * len(found.truth) else "caution", seen, cure, largest, 1e-5)


def _of_labels(scores: Tensor, told: bool) -> Opinion:
    """Say whether a model of labels returns probabilities and the task takes them for logits."""
    inside = float(((scores >= 0) & (scores <= 1)).double().mean())
    if told:
        return Opinion("ok", "The task says that the model returns probabilities, and their logits are the scores.", value=inside, threshold=1.0)
    if inside < 1:
        return Opinion("ok", f"{100 * inside:.0f} % of the scores lie in [0, 1], so they are not probabilities.", value=inside, threshold=1.0)
    seen = "All scores lie in [0, 1] like probabilities, but they are read as logits: with a threshold of 0.5, every score above 0 counts as present."
    return Opinion("bad", seen, "Return logits, or say that the model returns probabilities: task=labels(probabilities=true).", inside, 1.0)
