"""AutoAttack for models that answer at random."""

from sparring.attacks.attack_set import Entry, attack_set


@attack_set("rand-1", aliases=("rand",), cites="Croce, Hein 2020, arXiv:2003.01690; for L1 arXiv:2103.01208")
def rand() -> tuple[Entry, ...]:
    """Run the set rand of AutoAttack, which averages gradients over 20 draws.

    It is for models that answer at random.
    """
    return (
        Entry("apgd_l1(restarts=1, draws=20)"),
        Entry("apgd(draws=20)", unless="apgd_l1"),
        Entry('apgd_l1(restarts=1, loss="dlr", draws=20)'),
        Entry('apgd(loss="dlr", draws=20)', unless="apgd_l1"),
    )
