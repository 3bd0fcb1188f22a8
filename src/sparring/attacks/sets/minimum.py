"""Tuned settings of minimum-norm attacks."""

from sparring.attacks.attack_set import Entry, attack_set


@attack_set("minimum-1", aliases=("minimum",))
def minimum() -> tuple[Entry, ...]:
    """Minimise the change with few gradients, by minimum-norm attacks with tuned settings.

    Under their own names these attacks have the settings of their papers.
    """
    return (
        Entry("deepfool(search=8)"),
        Entry("ddn(factor=0.1)"),
        Entry("fmn(factor=0.1)"),
        Entry("cw(steps=200, turns=4)"),
        Entry("ead(steps=200, turns=8)"),
        Entry("brendel_bethge(steps=100)"),
        Entry("sigma_zero"),
    )
