"""Domains of branch and bound: parts of an input set on which the signs of some ReLUs are fixed."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from sparring.certification.networks.bounds.interval import Interval
from sparring.graph.network import Network
from sparring.graph.operators import Relu


@dataclass(frozen=True, eq=False)
class Layout:
    """Hold all ReLUs of a network side by side as t numbers, activation p from begin[p] on."""

    network: Network
    begin: dict[int, int]
    total: int

    @classmethod
    def of(cls, network: Network) -> "Layout":
        """Return the layout of a network."""
        begin, total = {}, 0
        for node in network.nonlinearities:
            if isinstance(network.nodes[node].operator, Relu):
                begin[node] = total
                total += torch.Size(network.shapes[node]).numel()
        return cls(network, begin, total)

    def flat(self, values: dict[int, Tensor]) -> Tensor:
        """Return [k, t] of values [k, *shape] by activation."""
        return torch.cat([values[node].flatten(1) for node in self.begin], 1)

    def parts(self, flat: Tensor) -> dict[int, Tensor]:
        """Return values [k, *shape] by activation of [k, t]."""
        sizes = [torch.Size(self.network.shapes[node]).numel() for node in self.begin]
        return {node: part.reshape(-1, *self.network.shapes[node]) for node, part in zip(self.begin, flat.split(sizes, 1), strict=True)}

    def feeding(self, node: int) -> int:
        """Return the node that feeds an activation."""
        return self.network.nodes[node].inputs[0]

    def locate(self, number: int) -> tuple[int, int]:
        """Return (activation, index in its flattened value) of one of the t numbers."""
        activation = max((node for node, begin in self.begin.items() if begin <= number), key=self.begin.__getitem__)
        return activation, number - self.begin[activation]

    def intervals(self, low: Tensor, high: Tensor) -> dict[int, Interval]:
        """Return bounds by feeding node of [k, t] each."""
        found: dict[int, Interval] = {}
        below, above = self.parts(low), self.parts(high)
        for index in self.begin:
            value = Interval(below[index], above[index])
            node = self.feeding(index)
            found[node] = value.cut(found[node]) if node in found else value
        return found


@dataclass(frozen=True, eq=False)
class Domains:
    """Hold m domains of branch and bound.

    m domains. owner: int64 [m], of which job. lower: float64 [m], a bound that holds. weights: float64 [m, r], of the rows of the query. The rest is
    [m, u], u the ReLUs whose signs are open at the root of the owner: low, high: float64, of what goes in; sign: int8, of splits, -1, 0 or +1;
    slopes, multipliers: float32, to begin with. depth: int64 [m], number of splits.
    """

    owner: Tensor
    lower: Tensor
    depth: Tensor
    weights: Tensor
    low: Tensor
    high: Tensor
    sign: Tensor
    slopes: Tensor
    multipliers: Tensor

    def __len__(self) -> int:
        return len(self.owner)

    def take(self, rows: Tensor) -> "Domains":
        """Return some of the domains."""
        return Domains(*(getattr(self, one.name)[rows] for one in fields(self)))

    def split(self, column: Tensor) -> "Domains":
        """Split each domain at 0 of one of the u numbers, int64 [m]: [2 m].

        The halves where the number is at least 0 come first.
        """
        here = torch.arange(len(self), device=column.device)
        upper = replace(self, low=self.low.clone(), sign=self.sign.clone(), depth=self.depth + 1)
        under = replace(self, high=self.high.clone(), sign=self.sign.clone(), depth=self.depth + 1)
        upper.low[here, column] = upper.low[here, column].clamp_min(0.0)
        upper.sign[here, column] = -1
        under.high[here, column] = under.high[here, column].clamp_max(0.0)
        under.sign[here, column] = 1
        return Domains(*(torch.cat([getattr(upper, one.name), getattr(under, one.name)]) for one in fields(self)))

    @property
    def open_(self) -> Tensor:
        """Return numbers whose sign is open, bool [m, u]."""
        return (self.low < 0) & (self.high > 0)


class Pool:
    """Hold domains that wait, in slots that are used again."""

    def __init__(self, like: Domains):
        self.store = Domains(*(getattr(like, one.name)[:0] for one in fields(like)))
        self.used = torch.zeros(0, dtype=torch.bool, device=like.owner.device)

    def __len__(self) -> int:
        return int(self.used.sum())

    @property
    def room(self) -> int:
        """Return the bytes held."""
        return sum(getattr(self.store, one.name).nbytes for one in fields(self.store))

    def put(self, domains: Domains) -> None:
        """Add domains to the pool."""
        if not len(domains):
            return
        empty = (~self.used).nonzero().squeeze(1)
        lacking = len(domains) - len(empty)
        if lacking > 0:
            size = max(lacking, len(self.used), 256)
            parts = []
            for one in fields(self.store):
                part = getattr(self.store, one.name)
                parts.append(torch.cat([part, part.new_zeros(size, *part.shape[1:])]))
            self.store = Domains(*parts)
            self.used = torch.cat([self.used, torch.zeros(size, dtype=torch.bool, device=self.used.device)])
            empty = (~self.used).nonzero().squeeze(1)
        slots = empty[: len(domains)]
        for one in fields(self.store):
            getattr(self.store, one.name)[slots] = getattr(domains, one.name)
        self.used[slots] = True

    def take(self, slots: Tensor) -> Domains:
        """Take these domains out of the pool."""
        self.used[slots] = False
        return self.store.take(slots)

    def drop(self, owners: Tensor) -> None:
        """Drop all domains of owners, bool by owner."""
        self.used &= ~owners[self.store.owner]

    def slots(self) -> Tensor:
        """Return the slots that are used."""
        return self.used.nonzero().squeeze(1)

    def worst(self, most: int, turn: Tensor) -> Tensor:
        """Return slots of the worst bounds, at most so many, shared evenly by the owners.

        Owners with the least `turn` (a number by owner) come first.
        """
        slots = self.slots()
        if len(slots) <= most:
            return slots
        owner, lower = self.store.owner[slots], self.store.lower[slots]
        present = owner.unique()
        if len(present) > most:
            present = present[turn[present].argsort(stable=True)[:most]]
            keep = torch.isin(owner, present)
            slots, owner, lower = slots[keep], owner[keep], lower[keep]
        order, rank = _ranked(owner, lower)
        return slots[order[rank.argsort(stable=True)[:most]]]

    def each(self, most: int) -> Tensor:
        """Return of every owner at most so many slots of the worst bounds, owner by owner."""
        slots = self.slots()
        order, rank = _ranked(self.store.owner[slots], self.store.lower[slots])
        return slots[order[rank < most]]


def _ranked(owner: Tensor, lower: Tensor) -> tuple[Tensor, Tensor]:
    """Return the order by owner, worst bounds first, and the rank of each domain within its owner."""
    order = lower.argsort(stable=True)
    order = order[owner[order].argsort(stable=True)]
    owner = owner[order]
    first = torch.cat([torch.ones_like(owner[:1], dtype=torch.bool), owner[1:] != owner[:-1]])
    begin = first.nonzero().squeeze(1)
    return order, torch.arange(len(owner), device=owner.device) - begin[first.cumsum(0) - 1]
