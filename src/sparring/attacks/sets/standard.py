"""AutoAttack."""

from sparring.attacks.attack_set import Entry, attack_set
from sparring.attacks.sets.common import SQUARES


@attack_set("standard-1", aliases=("standard", "autoattack"), cites="Croce, Hein 2020, arXiv:2003.01690; for L1 arXiv:2103.01208")
def standard() -> tuple[Entry, ...]:
    """Run AutoAttack, with the budgets of github.com/fra31/auto-attack."""
    return (
        Entry("apgd_l1"),
        Entry("apgd", unless="apgd_l1"),
        Entry("apgd_l1_t"),
        Entry("apgd_t", unless="apgd_l1_t"),
        Entry("fab_t"),
        *(Entry(f"{square}(queries=5000)") for square in SQUARES),
    )
