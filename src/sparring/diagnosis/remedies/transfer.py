"""Transfer: points found on a repaired copy or on an inner classifier may break the victim."""

from collections.abc import Iterator

from sparring.diagnosis.doctor import Subject
from sparring.diagnosis.remedy import Trying, fitting, margin_of_the_goal, remedy
from sparring.diagnosis.variants import twins


@remedy("transfer", order=50)
def transfer(subject: Subject) -> Iterator[Trying]:
    """Search by PGD on the model without its suspicious parts, and on classifiers inside it."""
    for variant in twins(subject, inside=True):
        for one in [*margin_of_the_goal(subject), *fitting(subject, 'pgd(steps=40, loss="margin", restarts=2)', 'pgd(steps=40, loss="ce")')]:
            yield Trying(f"{one} by {variant.label}", one, variant.victim)
