"""Averaging: if answers are random, gradients are means of many draws."""

from collections.abc import Iterator

from sparring.diagnosis.doctor import Subject
from sparring.diagnosis.remedy import Trying, fitting, remedy
from sparring.diagnosis.variants import averaged


@remedy("averaging (EOT)", order=30)
def averaging(subject: Subject) -> Iterator[Trying]:
    """Search by PGD on the mean of many draws of a model that answers at random."""
    for variant in averaged(subject):
        for one in fitting(subject, 'pgd(steps=20, loss="margin")', 'pgd(steps=40, loss="margin", restarts=2)', 'pgd(steps=40, loss="ce")'):
            yield Trying(f"{one} with {variant.label}", one, variant.victim)
