"""D18: does one step break what ten do not? Costs 22 forwards and backwards."""

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check
from sparring.diagnosis.probe import SLACK, attempt, notable, unfit


@check(code="D18", title="Single step against many", needs={"gradients", "scores"}, cost=24, tasks=EVERY_TASK)
def single_step(subject: Subject) -> Opinion:
    """Compare FGSM with PGD of ten steps, sample by sample.

    FGSM that wins is also the sign of catastrophic overfitting (Athalye et al. 2018).
    """
    if (no := unfit(subject, "pgd")) is not None:
        return no
    one, many = attempt(subject, "fgsm").broken, attempt(subject, 'pgd(steps=10, loss="ce")').broken
    count, extra = len(one), int((one & ~many).sum())
    seen = f"One step breaks {int(one.sum())} of {count} samples, ten steps break {int(many.sum())}; {extra} are broken by the single step only."
    if notable(extra, count):
        cure = "Gradients mislead beyond the first step: try larger steps, gradients averaged over nearby points, and query attacks."
        return Opinion("bad", seen, cure, extra / count, SLACK)
    return Opinion("ok", seen, value=extra / count, threshold=SLACK)
