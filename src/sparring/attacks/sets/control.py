"""Controls, with which searches are compared."""

from sparring.attacks.attack_set import Entry, attack_set


@attack_set("control")
def control() -> tuple[Entry, ...]:
    """Draw random points, with which searches are compared."""
    return (Entry("noise"),)
