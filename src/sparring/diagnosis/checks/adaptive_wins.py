"""D26: is an adaptive attack at least as strong as a plain one? Costs 20 forwards and backwards, and 20 for each way (times 20 with EOT)."""

from sparring.diagnosis.doctor import EVERY_TASK, Opinion, Subject, check
from sparring.diagnosis.probe import SLACK, attempt, notable, unfit
from sparring.diagnosis.variants import averaged, passed


@check(code="D26", title="Adaptive attacks must win", needs={"gradients", "scores"}, cost=500, tasks=EVERY_TASK)
def adaptive_wins(subject: Subject) -> Opinion:
    """Compare PGD through EOT or BPDA with plain PGD, if the victim needs these.

    Caution where it wins, because an adaptive attack is needed, and where it loses samples, because then it is not adapted well.
    """
    if (no := unfit(subject, "pgd")) is not None:
        return no
    ways = [*averaged(subject), *passed(subject)]
    if not ways:
        return Opinion("not applicable", "The model is not random and has no suspicious part, so no adaptive attack is needed.")
    plain = attempt(subject, 'pgd(steps=20, loss="margin")').broken
    tried = {one.label: attempt(subject, 'pgd(steps=20, loss="margin")', victim=one.victim).broken for one in ways}
    best = max(tried, key=lambda said: int(tried[said].sum()))
    count, gained, lost = len(plain), int((tried[best] & ~plain).sum()), int((plain & ~tried[best]).sum())
    seen = f"Of {count} samples, {best} breaks {gained} that the plain attack does not break, and misses {lost} that it breaks."
    if notable(gained, count):
        return Opinion("bad", seen, f"Evaluate this model with the adaptive attack {best}, not with plain gradients.", gained / count, SLACK)
    if notable(lost, count):
        return Opinion("caution", seen, "Improve the adaptive attack: use a better substitute gradient, more draws or more steps.", -lost / count, SLACK)
    return Opinion("ok", seen, value=gained / count, threshold=SLACK)
