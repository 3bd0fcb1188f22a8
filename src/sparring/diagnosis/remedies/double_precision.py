"""Double precision: restores gradients that vanish by rounding."""

from collections.abc import Iterator

from sparring.diagnosis.doctor import Subject
from sparring.diagnosis.remedy import Trying, fitting, remedy
from sparring.diagnosis.variants import doubled


@remedy("double precision", order=20)
def double_precision(subject: Subject) -> Iterator[Trying]:
    """Search by PGD on a copy of the model in double precision."""
    for variant in doubled(subject):
        for one in fitting(subject, 'pgd(steps=40, loss="ce")', 'pgd(steps=40, loss="margin")'):
            yield Trying(f"{one} on {variant.label}", one, variant.victim)
