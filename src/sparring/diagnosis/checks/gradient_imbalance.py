"""D13: is the gradient of one class so large that it hides the others? Costs 2 forwards and 2 backwards."""

import torch
from torch import Tensor

from sparring.diagnosis.doctor import Opinion, Subject, check

LARGE = 5.0


@check(code="D13", title="Gradient imbalance", needs={"gradients", "scores"}, cost=4)
def gradient_imbalance(subject: Subject) -> Opinion:
    """Compare the gradient sizes of the label's score and of the runner-up's.

    The value is the ratio of the L1 sizes, the larger over the smaller (MD attack, Ma et al. 2020, arXiv:2006.15207).

    Where we differ: where the scores are log-probabilities, the mean of a row is taken off first. These always have a small
    gradient for the winner and a large one for the others, whatever the network.
    """
    scores = subject.clean.scores
    assert scores is not None  # granted by `needs`
    y = subject.y.to(scores.device)[:, None]
    logs = bool((scores.double().logsumexp(1).abs() < 1e-3).all())
    second = scores.scatter(1, y, -torch.inf).argmax(1, keepdim=True)

    def size(classes: Tensor) -> Tensor:
        return subject.victim.gradient(subject.x, lambda z: z.gather(1, classes).squeeze(1) - z.mean(1) * logs).grad.flatten(1).double().abs().sum(1)

    own, other = size(y), size(second)
    if not bool(((own > 0) | (other > 0)).any()):
        return Opinion("not applicable", "All gradients are zero: see D6 and D8.")
    value = float((torch.maximum(own, other) / torch.minimum(own, other)).nan_to_num(1.0, posinf=1e6).median())
    seen = f"One of the gradients of the label's and the runner-up's score is {value:.3g} times the other (median)."
    if value > LARGE:
        return Opinion("caution", seen, "Attack with an alternating margin loss (MD) or one on probabilities (pm), and with single targets.", value, LARGE)
    return Opinion("ok", seen, value=value, threshold=LARGE)
