"""D3: does an answer depend on the other samples of the batch, or on training mode? Costs 1 forward and 8 of one sample."""

import torch
from torch import nn

from sparring.diagnosis.doctor import EVERY_TASK, Answers, Opinion, Subject, check, compare

ALONE = 8

MODAL = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU, nn.modules.batchnorm._BatchNorm)
"""Modules that behave differently in training."""


@check(code="D3", title="Batch dependence and training mode", needs={"labels"}, tasks=EVERY_TASK)
def batch_dependence(subject: Subject) -> Opinion:
    """Evaluate the first samples alone and compare with their answers in the batch."""
    named = subject.module.named_modules() if subject.module else ()
    training = ", ".join(f"{name} ({type(one).__name__})" for name, one in named if one.training and isinstance(one, MODAL))
    tolerance = subject.tolerance
    if training:
        seen = f"{training} stays in training mode when the model is evaluated."
        return Opinion("bad", seen, "Make eval() reach every module, or treat the model as randomised.", training)
    again = subject.ask(subject.x)
    head = again.take(ALONE)
    repeat, apart = compare(subject.clean, again), compare(head, _alone(subject))
    if repeat.changed or repeat.largest > tolerance:
        return Opinion("not applicable", "The answers are random, so the influence of the batch cannot be measured: see D1.")
    cure = "Use running statistics (evaluation mode), or evaluate one sample at a time."
    count = min(ALONE, len(subject))
    if apart.changed:
        seen = f"{apart.changed} of {count} predictions changed when the sample was evaluated alone."
        return Opinion("bad", seen, cure, apart.changed / count, 0.0)
    if apart.largest > tolerance:
        seen = f"Scores differ by {apart.largest:.2g} relative to their size when a sample is evaluated alone."
        return Opinion("caution", seen, cure, apart.largest, tolerance)
    if getattr(subject.victim, "was_training", False):
        seen = "The module was in training mode; it was evaluated in evaluation mode, as when deployed."
        return Opinion("caution", seen, "Call eval() first, if the model is deployed in evaluation mode.", apart.largest, tolerance)
    if len(subject) == 1:
        return Opinion("not applicable", "The check needs at least two samples.")
    seen = f"{count} samples gave the same answers alone as in the batch."
    return Opinion("ok", seen, value=apart.largest, threshold=tolerance)


def _alone(subject: Subject) -> Answers:
    """The first samples asked one by one."""
    each = [subject.ask(subject.x[place : place + 1], subject.y[place : place + 1]) for place in range(min(ALONE, len(subject)))]
    rows = [one.scores for one in each if one.scores is not None]
    return Answers(torch.cat([one.labels for one in each]), torch.cat(rows) if rows else None, torch.cat([one.given for one in each]), subject.task)
