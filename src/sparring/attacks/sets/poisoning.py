"""The default attacks on training data."""

from sparring.attacks.attack_set import Entry, attack_set


@attack_set("poisoning-1", aliases=("default",), aim="poisoning")
def poisoning() -> tuple[Entry, ...]:
    """Flip labels, those of the most typical samples first."""
    return (Entry("label_flip"),)
