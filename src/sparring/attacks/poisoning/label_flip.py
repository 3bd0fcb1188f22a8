"""Label flips: some training samples get the label of another class."""

import torch

from sparring.attacks.method import method
from sparring.attacks.poisoning.workshop import Workshop
from sparring.core.errors import InputError
from sparring.core.taxonomy import AVAILABILITY_POISONING
from sparring.data.dataset import Data


@method(aim="poisoning", cites="Biggio, Nelson, Laskov 2011, ACML; farthest-first: Xiao, Xiao, Eckert 2012, ECAI", taxonomy=AVAILABILITY_POISONING)
def label_flip(workshop: Workshop) -> Data:
    """Give the most typical samples of each class the label of the nearest other class.

    Classes are as near as their centres.

    A sample near the centre of its class carries the most weight when its label is wrong. Every flip of one class goes to one other
    class, so that flips add up instead of averaging out.

    Args:
        workshop: The training data and how much of it may change.

    Returns:
        The data with at most `workshop.most` labels changed.

    Differs from the paper: no surrogate is trained; the samples are chosen by distances between class centres.
    """
    data, classes = workshop.data, _classes(workshop.data)
    x = torch.as_tensor(data.x).flatten(1).double()
    centres = torch.stack([x[data.y == one].mean(0) if bool((data.y == one).any()) else torch.full_like(x[0], torch.inf) for one in range(classes)])
    apart = torch.cdist(centres, centres).nan_to_num(torch.inf, torch.inf).fill_diagonal_(torch.inf)
    nearest = apart.argmin(1)
    order = (x - centres[data.y]).norm(dim=1).argsort(stable=True)[: workshop.most]
    y = data.y.clone()
    y[order] = nearest[data.y[order]]
    return data.derived(y=y)


@method(aim="poisoning", cites="Biggio, Nelson, Laskov 2011, ACML", control=True)
def random_flip(workshop: Workshop) -> Data:
    """Give random samples the label of a random other class: noise of the size of the attack.

    Args:
        workshop: The training data and how much of it may change.

    Returns:
        The data with `workshop.most` labels changed.
    """
    data, classes = workshop.data, _classes(workshop.data)
    order = workshop.order()[: workshop.most]
    step = workshop.rng.draw("label").integers(classes - 1, 1).squeeze(1) + 1
    y = data.y.clone()
    y[order] = (data.y[order] + step[order]) % classes
    return data.derived(y=y)


def _classes(data: Data) -> int:
    classes = data.task.score_shape[0] if data.task.kind == "classes" else 0
    if classes < 2:
        raise InputError(f"label_flip needs classes, but {data.name} holds {data.task}")
    return classes
