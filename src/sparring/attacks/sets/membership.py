"""The default attacks that infer membership in the training data."""

from sparring.attacks.attack_set import Entry, attack_set


@attack_set("membership-1", aliases=("default",), aim="membership")
def membership() -> tuple[Entry, ...]:
    """Score each record by its loss."""
    return (Entry("loss_threshold"),)
