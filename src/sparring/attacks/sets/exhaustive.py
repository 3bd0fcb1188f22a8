"""All attacks that may succeed."""

from sparring.attacks.attack_set import Entry, attack_set
from sparring.attacks.sets.common import LABELS_AND_OTHERS, SQUARES
from sparring.attacks.sets.fast import fast
from sparring.attacks.sets.standard import standard


@attack_set("exhaustive-1", aliases=("exhaustive",))
def exhaustive() -> tuple[Entry, ...]:
    """Join the fast and the standard set, and add restarts, targets and queries."""
    return (
        *(entry for entry in fast.entries if entry not in LABELS_AND_OTHERS and "noise" not in entry.attack),
        *standard.entries,
        Entry("odi(steps=50, restarts=20, warmup=5, bias=0.8, warm=true)"),
        Entry("multi_targeted(steps=50, targets=9)"),
        *(Entry(f"{square}(queries=5000, warm=true, restarts=2)") for square in SQUARES),
        *LABELS_AND_OTHERS,
        Entry("noise(tries=100)"),
    )
