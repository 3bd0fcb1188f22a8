"""Other losses: if the gradient of one vanishes or misleads, another may work."""

from collections.abc import Iterator

from sparring.diagnosis.doctor import Subject
from sparring.diagnosis.probe import losses
from sparring.diagnosis.remedy import Trying, fitting, margin_of_the_goal, remedy


@remedy("another loss", order=10)
def other_losses(subject: Subject) -> Iterator[Trying]:
    """Search by PGD and APGD on other losses, single targets and the goal's own margin.

    DLR and targets need three classes.
    """
    many = len(subject.losses) > 1 and subject.task.score_shape[0] > 2
    texts = [f'pgd(steps=40, loss="{loss}", restarts=2)' for loss in (losses() if len(subject.losses) > 1 else ["margin"]) if loss != "dlr" or many]
    texts += ['apgd(steps=50, loss="dlr")', "apgd_t(steps=30, targets=3)"] if many else []
    yield from (Trying(str(one), one, None) for one in [*margin_of_the_goal(subject), *fitting(subject, *texts)])
