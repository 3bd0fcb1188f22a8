"""AutoAttack with more restarts."""

from sparring.attacks.attack_set import Entry, attack_set
from sparring.attacks.sets.common import SQUARES


@attack_set("plus-1", aliases=("plus",), cites="Croce, Hein 2020, arXiv:2003.01690; for L1 arXiv:2103.01208")
def plus() -> tuple[Entry, ...]:
    """Run the set plus of AutoAttack: more restarts, a second loss and untargeted FAB."""
    return (
        Entry("apgd_l1"),
        Entry("apgd(restarts=5)", unless="apgd_l1"),
        Entry('apgd_l1(loss="dlr")'),
        Entry('apgd(restarts=5, loss="dlr")', unless="apgd_l1"),
        Entry("fab(restarts=5)"),
        *(Entry(f"{square}(queries=5000)") for square in SQUARES),
        Entry("apgd_l1_t(targets=9)"),
        Entry("apgd_t", unless="apgd_l1_t"),
        Entry("fab_t"),
    )
