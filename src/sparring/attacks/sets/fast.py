"""The default: a cascade of stages."""

from sparring.attacks.attack_set import Entry, attack_set
from sparring.attacks.sets.common import LABELS_AND_OTHERS, SQUARES


@attack_set("fast-1", aliases=("default", "fast"))
def fast() -> tuple[Entry, ...]:
    """Run cheap attacks first, and later ones only on samples that are nearly broken.

    How the stages were chosen is told in design/cascade.md.
    """
    return (
        Entry('pgd(steps=10, loss="pm", step_size=1.0, decay="cosine", random_start=false)'),
        Entry("pgd_two_sided(steps=20)"),
        Entry("odi(steps=20, restarts=2, warm=true, within=1.0)"),
        Entry("apgd_l1_t(steps=40, targets=3, within=1.0)"),
        Entry('apgd_t(steps=40, order="linearised", targets=3, within=1.0)', unless="apgd_l1_t"),
        Entry("apgd(steps=40, within=1.0)", unless="apgd_t"),  # answers without classes to aim at: masks, values
        *(Entry(f"{square}(queries=200, warm=true, within=1.0)") for square in SQUARES),
        Entry("odi(steps=20, restarts=6, warm=true, within=0.3)"),
        *(Entry(f"{square}(queries={queries}, warm=true, within={within})") for queries, within in ((500, 0.4), (3000, 0.2)) for square in SQUARES),
        *(Entry(f"{square}(queries=1000)", unless="gradients") for square in SQUARES),
        Entry("square_two_sided(queries=1000)", unless="gradients"),
        *LABELS_AND_OTHERS,
        Entry("noise(tries=20)"),
    )
