"""The default attacks whose points are transferred."""

from sparring.attacks.attack_set import Entry, attack_set


@attack_set("transfer-1", aliases=("default",), aim="transfer")
def transfer() -> tuple[Entry, ...]:
    """Take gradients with momentum from the sources."""
    return (Entry("transfer"),)
