"""D2: are the scores probabilities instead of logits? Costs nothing: shared forward."""

from sparring.diagnosis.doctor import Opinion, Subject, check

FULL = 0.1  # share of samples with a probability of exactly 1: their gradient through the softmax is lost


@check(code="D2", title="Probabilities instead of logits", needs={"scores"}, tasks=frozenset({"classes", "mask"}))
def probabilities(subject: Subject) -> Opinion:
    """Check whether all scores lie in [0, 1] and each row sums to 1 (AutoAttack, checks.py)."""
    scores = subject.clean.scores
    assert scores is not None  # granted by `needs`
    found = subject.decisions(scores)
    assert found is not None  # granted by `tasks`
    largest = float((found.scores.double().sum(1) - 1).abs().max())
    if not subject.probabilities:
        return Opinion("ok", "The scores are not probabilities.", value=largest, threshold=1e-5)
    if "gradients" not in subject.offers:
        return Opinion("ok", "The scores are probabilities, as expected of a model without gradients.", value=largest, threshold=1e-5)
    full = int((found.scores.float().amax(1) == 1).sum())
    what = "samples" if subject.y.ndim == 1 else "pixels"
    seen = f"All scores lie in [0, 1] and sum to 1; {full} of {len(found.truth)} {what} have a probability of exactly 1."
    cure = "Remove the final softmax and return logits, or return log probabilities computed by log_softmax."
    return Opinion("bad" if full > FULL * len(found.truth) else "caution", seen, cure, largest, 1e-5)
