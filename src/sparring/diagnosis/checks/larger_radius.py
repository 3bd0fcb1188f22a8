"""D19: does a larger radius break at least as much? Costs 60 forwards and backwards."""

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check
from sparring.diagnosis.probe import SLACK, attempt, notable, unfit

SHARES = (0.5, 1.0, 2.0)


@check(code="D19", title="Larger radius", needs={"gradients", "scores"}, cost=120, tasks=EVERY_TASK)
def larger_radius(subject: Subject) -> Opinion:
    """Run PGD at half, once and twice the radius; a larger radius must break no fewer samples.

    A point that breaks a sample is allowed at every larger radius, so a sample that falls
    only at the smaller shows an attack that fails. Radius 0 gives the clean accuracy by construction.
    """
    if (no := unfit(subject, "pgd")) is not None:
        return no
    broken = [attempt(subject, 'pgd(steps=20, loss="ce")', share=share).broken for share in SHARES]
    count = len(broken[0])
    lost = max(int((broken[small] & ~broken[large]).sum()) for small in range(3) for large in range(small + 1, 3))
    counts = ", ".join(f"{int(one.sum())} at {share:g}" for share, one in zip(SHARES, broken, strict=True))
    seen = f"Of {count} samples, PGD breaks {counts} (by share of the radius); {lost} are broken only at a smaller radius."
    if notable(lost, count):
        cure = "The attack gets weaker at a larger radius: examine the gradients, and use more and smaller steps."
        return Opinion("bad", seen, cure, lost / count, SLACK)
    return Opinion("ok", seen, value=lost / count, threshold=SLACK)
