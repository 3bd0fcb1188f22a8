"""A clock that moves with the work: a limit of time then ends a search at the same step on every machine, however busy."""

import time

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class WorkClock(TorchDispatchMode):
    """While it is entered, `time.monotonic` counts the operations of torch: `fixed` seconds each, and `each` for every number of a result."""

    def __init__(self, fixed: float, each: float):
        super().__init__()
        self.now, self.fixed, self.each = 100.0, fixed, each

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        self.now += self.fixed + self.each * sum(one.numel() for one in tree_leaves(found) if isinstance(one, Tensor))
        return found


def spent(monkeypatch, call, *, fixed=1e-4, each=1e-8):
    """(what `call` returns, the seconds that it took by such a clock)."""
    clock = WorkClock(fixed, each)
    with monkeypatch.context() as patch, clock:
        patch.setattr(time, "monotonic", lambda: clock.now)
        patch.setattr("sparring.certification.networks.scheduler.machine_speed", lambda: 1e9)
        began = clock.now
        found = call()
        return found, clock.now - began
