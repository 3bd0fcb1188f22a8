"""Backward pass: suspicious parts of the model get substitute gradients."""

from collections.abc import Iterator

from sparring.diagnosis.doctor import Subject
from sparring.diagnosis.remedy import Trying, fitting, margin_of_the_goal, remedy
from sparring.diagnosis.variants import passed


@remedy("passing suspicious parts (BPDA)", order=40)
def backward_pass(subject: Subject) -> Iterator[Trying]:
    """Search by PGD and APGD, with suspicious parts differentiated as identities or secants."""
    for variant in passed(subject):
        texts = (
            'pgd(steps=40, loss="margin")',
            'pgd(steps=40, loss="ce", restarts=2)',
            'pgd(steps=20, loss="margin", restarts=2, step_size=0.25)',
            "apgd_t(steps=30, targets=3)",
        )
        for one in [*margin_of_the_goal(subject), *fitting(subject, *texts)]:
            yield Trying(f"{one} with {variant.label}", one, variant.victim)
