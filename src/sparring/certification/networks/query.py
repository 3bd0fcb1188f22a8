"""A query about a network: does any input of a set lead to an unsafe output?"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sparring.certification.networks.bounds.inputs import ROUNDING, InputSet
from sparring.graph.network import Network
from sparring.graph.operators import Affine


@dataclass(frozen=True, eq=False)
class Query:
    """Hold n queries of one network, one per sample.

    The unsafe outputs of a query are a disjunction of conjunctions of linear constraints: y is unsafe if for some disjunct all its constraints hold,
    constraint . y + offset <= 0. constraints float64 [n, r, outputs], offset float64 [n, r], disjunct int64 [n, r]: the number of the disjunct that a
    constraint belongs to, from 0 without gaps, -1 for those that only fill up.
    """

    network: Network
    inputs: InputSet
    constraints: Tensor
    offset: Tensor
    disjunct: Tensor

    @classmethod
    def robustness(cls, network: Network, inputs: InputSet, label: Tensor) -> "Query":
        """Return queries that are unsafe where another class scores at least as much as the label.

        label: int64 [n].
        """
        count, classes = len(label), network.outputs
        others = torch.arange(classes, device=label.device).expand(count, classes)[torch.arange(classes, device=label.device) != label[:, None]]
        unit = torch.eye(classes, dtype=torch.float64, device=label.device)
        rows = unit[label][:, None] - unit[others.reshape(count, classes - 1)]
        disjunct = torch.arange(classes - 1, device=label.device).expand(count, classes - 1)
        return cls(network, inputs, rows, rows.new_zeros(count, classes - 1), disjunct)

    @classmethod
    def reaching(cls, network: Network, inputs: InputSet, target: Tensor) -> "Query":
        """Return queries that are unsafe where the target scores at least as much as every other.

        target: int64 [n].
        """
        asked = cls.robustness(network, inputs, target)
        return cls(network, inputs, -asked.constraints, asked.offset, torch.zeros_like(asked.disjunct))

    def __len__(self) -> int:
        return len(self.constraints)

    def take(self, samples: Tensor) -> "Query":
        """Return some of the queries."""
        return Query(self.network, self.inputs.take(samples), self.constraints[samples], self.offset[samples], self.disjunct[samples])

    @cached_property
    def disjuncts(self) -> int:
        """Return the largest number of disjuncts of a sample."""
        return int(self.disjunct.max()) + 1 if self.disjunct.numel() else 0

    @cached_property
    def one_constraint_each(self) -> bool:
        """Return whether every disjunct is a single constraint, as in robustness."""
        expected = torch.arange(self.constraints.shape[1], device=self.disjunct.device)
        return bool((self.disjunct == expected).all())

    def margin(self, values: Tensor) -> Tensor:
        """Return the margin of values of the constraints, [n].

        [n]: of values of the constraints [n, r] the least over disjuncts of the greatest within each. At outputs: unsafe where it is not positive;
        of lower bounds: safe where it is positive. NaN counts as minus infinity.
        """
        values = values.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        if self.one_constraint_each:
            return values.amin(1)
        best = values.new_full((len(values), self.disjuncts + 1), -torch.inf)
        best = best.scatter_reduce(1, self.disjunct.where(self.disjunct >= 0, self.disjuncts), values, "amax")[:, : self.disjuncts]
        present = torch.zeros_like(best).scatter(1, self.disjunct.clamp_min(0), 1.0) > 0  # samples may have fewer disjuncts than the largest number
        return torch.where(present, best, torch.inf).amin(1)

    def settled(self, values: Tensor) -> Tensor:
        """Return which constraints need no more work, bool [n, r].

        bool [n, r]: constraints that need no more work for lower bounds `values`: their disjunct has a positive one, or they fill up.
        """
        if self.one_constraint_each:
            return values > 0
        done = values.new_zeros(len(values), self.disjuncts + 1)
        done = done.scatter_reduce(1, self.disjunct.where(self.disjunct >= 0, self.disjuncts), (values > 0).to(values.dtype), "amax")
        return (done.gather(1, self.disjunct.where(self.disjunct >= 0, self.disjuncts)) > 0) | (self.disjunct < 0)

    def slack(self) -> Tensor:
        """Return the largest float64 rounding error of a margin, float64 [n].

        float64 [n]: what rounding in float64 may make of a margin, by the largest sum of absolute terms that any node or constraint adds up at the middle of
        the set. Terms that cancel inside a network leave an error of their own size, which no share of the result tells.
        """
        values = self.network.values(self.inputs.middle)
        largest = self.inputs.middle.new_zeros(len(self))
        for node, value in zip(self.network.nodes, values, strict=True):
            summed = value.abs()
            if isinstance(node.operator, Affine):
                constant = node.operator.constant
                summed = node.operator.absolute(values[node.inputs[0]].abs()) + (0.0 if constant is None else constant.abs())
            largest = torch.maximum(largest, summed.flatten(1).amax(1))
        ends = torch.bmm(self.constraints.abs(), values[-1].flatten(1).abs()[:, :, None]).squeeze(2) + self.offset.abs()
        return ROUNDING * torch.maximum(largest, ends.amax(1))

    def at(self, x: Tensor) -> Tensor:
        """Return constraint . network(x) + offset for inputs [n, *in], [n, r]."""
        return torch.bmm(self.constraints.to(x.dtype), self.network(x).flatten(1)[:, :, None]).squeeze(2) + self.offset.to(x.dtype)
