"""Attacks that several sets contain."""

from sparring.attacks.attack_set import Entry

SQUARES = ("square", "square_l2", "square_l1")

LABELS_AND_OTHERS = (
    Entry("hopskipjump(steps=10)", unless="scores"),
    Entry("coordinate"),
    Entry("greedy"),
    Entry("sigma_zero"),
    Entry("sparse_rs(queries=1000)"),
    Entry("sparse_rs_patch(queries=1000)"),
    Entry("spatial_grid"),
    Entry("stadv"),
    Entry("recoloradv"),
    Entry("corruption"),
)
"""Attacks for label access, and for spaces that are not balls."""
