"""D18: does one step break what ten do not? Costs 22 forwards and backwards."""

from sparring.judge.doctor import Opinion, Patient, check
from sparring.judge.trial import SLACK, attempt, notable, unfit


@check(code="D18", title="Single step against many", needs={"gradients", "scores"}, cost=24)
def single_step(patient: Patient) -> Opinion:
    """FGSM against PGD of ten steps, sample by sample (Athalye et al. 2018); also the sign of catastrophic overfitting."""
    if (no := unfit(patient, "pgd")) is not None:
        return no
    one, many = attempt(patient, "fgsm").broken, attempt(patient, 'pgd(steps=10, loss="ce")').broken
    count, extra = len(one), int((one & ~many).sum())
    seen = f"One step breaks {int(one.sum())} of {count} samples, ten steps {int(many.sum())}; {extra} fall to the one step alone."
    if notable(extra, count):
        cure = "Gradients mislead beyond the first step: try larger steps, average gradients near by, and query attacks."
        return Opinion("bad", seen, cure, extra / count, SLACK)
    return Opinion("ok", seen, value=extra / count, threshold=SLACK)
