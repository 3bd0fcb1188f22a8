"""Loss threshold: records on which the loss is small were trained on."""

from torch import Tensor
from torch.nn import functional as F

from sparring.attacks.membership.probe import Probe
from sparring.attacks.method import method
from sparring.core.taxonomy import MEMBERSHIP


@method(aim="membership", cites="Yeom et al. 2018, arXiv:1709.01604", taxonomy=MEMBERSHIP)
def loss_threshold(probe: Probe) -> Tensor:
    """Score each record by its negative cross-entropy under the model.

    Training makes the cross-entropy small on what it has seen.

    Args:
        probe: The model and the records.

    Returns:
        float64 [n]: the larger, the likelier a member. The threshold is left to whoever reads the ROC curve.
    """
    scores = probe.scores(probe.data).double()
    return -F.cross_entropy(scores, probe.data.y.to(scores.device), reduction="none")
