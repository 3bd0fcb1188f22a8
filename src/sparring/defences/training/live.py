"""A module in training as a graph that shares its parameters, so that bounds have gradients."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from sparring.core.errors import NeedsError
from sparring.graph.from_torch import Traced, trace
from sparring.graph.network import Network


class LiveNetwork:
    """Hold the graph of a module, read once; `network` returns it with the current parameters.

    Batch normalisation: bounds and attacks of a step use mean and (biased) variance of the clean batch of that step, through which gradients
    flow (Shi et al. 2021, arXiv:2103.17268, section 4.2). They are taken while the module computes its scores in training mode, which also moves its
    running statistics, and stand in the graph where evaluation mode has those. Dropout counts for the scores of the module only.
    """

    def __init__(self, module: nn.Module, shape: tuple[int, ...]):
        self.module, self.shape = module, shape
        self.norms = {name: part for name, part in module.named_modules() if isinstance(part, _BatchNorm)}
        self._traced: Traced | None = None
        self._statistics: dict[str, tuple[Tensor, Tensor]] = {}

    def scores(self, x: Tensor) -> Tensor:
        """Return the scores of the module in its present mode; keeps the statistics of this batch."""
        self._statistics = {}
        hooks = [part.register_forward_pre_hook(self._listener(name)) for name, part in self.norms.items()] if self.module.training else []
        try:
            return self.module(x)
        finally:
            _remove(hooks)

    def network(self) -> Network:
        """Return the graph, of the module's own floating type.

        With batch normalisation call `scores` on the clean batch first.
        """
        if self._traced is None:
            self._traced = trace(self.module, self.shape)
        with self._put():
            return self._traced.network(live=True)

    def _listener(self, name: str):  # noqa: ANN202 - a hook as torch has it
        def listen(part: nn.Module, values: tuple[Tensor, ...]) -> None:
            if name in self._statistics:
                raise NeedsError(f"the batch normalisation {name} is used twice in one pass and so has no single mean: use a separate layer each time")
            rest = [axis for axis in range(values[0].ndim) if axis != 1]
            variance, mean = torch.var_mean(values[0], rest, correction=0)
            self._statistics[name] = mean, variance

        return listen

    @contextmanager
    def _put(self) -> Iterator[None]:
        """The statistics of the batch in the places of the running ones, and afterwards these again."""
        kept = {name: (part.running_mean, part.running_var) for name, part in self.norms.items()}
        try:
            for name, (mean, variance) in self._statistics.items():
                self.norms[name]._buffers.update(running_mean=mean, running_var=variance)
            yield
        finally:
            for name, (mean, variance) in kept.items():
                self.norms[name]._buffers.update(running_mean=mean, running_var=variance)


def _remove(hooks: list[RemovableHandle]) -> None:
    for hook in hooks:
        hook.remove()
