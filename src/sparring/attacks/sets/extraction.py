"""The default attacks that copy a model."""

from sparring.attacks.attack_set import Entry, attack_set


@attack_set("extraction-1", aliases=("default",), aim="extraction")
def extraction() -> tuple[Entry, ...]:
    """Make one copy each with 100, 300 and 1000 queries."""
    return tuple(Entry(f"knockoff(queries={most})") for most in (100, 300, 1000))
