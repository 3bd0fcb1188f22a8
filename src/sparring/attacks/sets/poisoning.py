"""What the training of a model is tampered with."""

from sparring.attacks.attack_set import Entry, attack_set


@attack_set("poisoning-1", aliases=("default",), aim="poisoning")
def poisoning() -> tuple[Entry, ...]:
    """Flip labels, those of the most typical samples first."""
    return (Entry("label_flip"),)
