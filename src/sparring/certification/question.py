"""What is asked of a network: does any input of a set give an output that is unsafe?"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sparring.certification.bounds.inputs import ROUNDING, InputSet
from sparring.models.network.network import Network
from sparring.models.network.operators import Affine


@dataclass(frozen=True, eq=False)
class Question:
    """n questions of one network, one for each sample.

    An output y is unsafe if for some clause all its rows hold: rows . y + offset <= 0. rows float64 [n, r, outputs], offset float64 [n, r],
    clause int64 [n, r]: the number of the clause a row belongs to, from 0 without gaps, -1 for rows that only fill up.
    """

    network: Network
    inputs: InputSet
    rows: Tensor
    offset: Tensor
    clause: Tensor

    @classmethod
    def robustness(cls, network: Network, inputs: InputSet, label: Tensor) -> "Question":
        """Unsafe: another class scores at least as much as the label, int64 [n]."""
        count, classes = len(label), network.outputs
        others = torch.arange(classes, device=label.device).expand(count, classes)[torch.arange(classes, device=label.device) != label[:, None]]
        unit = torch.eye(classes, dtype=torch.float64, device=label.device)
        rows = unit[label][:, None] - unit[others.reshape(count, classes - 1)]
        clause = torch.arange(classes - 1, device=label.device).expand(count, classes - 1)
        return cls(network, inputs, rows, rows.new_zeros(count, classes - 1), clause)

    @classmethod
    def reaching(cls, network: Network, inputs: InputSet, target: Tensor) -> "Question":
        """Unsafe: the target class, int64 [n], scores at least as much as every other."""
        asked = cls.robustness(network, inputs, target)
        return cls(network, inputs, -asked.rows, asked.offset, torch.zeros_like(asked.clause))

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, samples: Tensor) -> "Question":
        return Question(self.network, self.inputs.take(samples), self.rows[samples], self.offset[samples], self.clause[samples])

    @cached_property
    def clauses(self) -> int:
        """The most clauses that a sample has."""
        return int(self.clause.max()) + 1 if self.clause.numel() else 0

    @cached_property
    def one_row_each(self) -> bool:
        """Is every clause a single row, as in robustness?"""
        expected = torch.arange(self.rows.shape[1], device=self.clause.device)
        return bool((self.clause == expected).all())

    def margin(self, values: Tensor) -> Tensor:
        """[n]: of values of the rows [n, r] the least over clauses of the greatest within each. At outputs: unsafe where it is not positive;
        of lower bounds: safe where it is positive. NaN counts as minus infinity."""
        values = values.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        if self.one_row_each:
            return values.amin(1)
        best = values.new_full((len(values), self.clauses + 1), -torch.inf)
        best = best.scatter_reduce(1, self.clause.where(self.clause >= 0, self.clauses), values, "amax")[:, : self.clauses]
        present = torch.zeros_like(best).scatter(1, self.clause.clamp_min(0), 1.0) > 0  # samples may have fewer clauses than the most
        return torch.where(present, best, torch.inf).amin(1)

    def settled_rows(self, values: Tensor) -> Tensor:
        """bool [n, r]: rows that need no more work for lower bounds `values`: their clause has a positive one, or they fill up."""
        if self.one_row_each:
            return values > 0
        done = values.new_zeros(len(values), self.clauses + 1)
        done = done.scatter_reduce(1, self.clause.where(self.clause >= 0, self.clauses), (values > 0).to(values.dtype), "amax")
        return (done.gather(1, self.clause.where(self.clause >= 0, self.clauses)) > 0) | (self.clause < 0)

    def slack(self) -> Tensor:
        """float64 [n]: what rounding in float64 may make of a margin, by the largest sum of absolute terms that any node or row adds up at the middle of
        the set. Terms that cancel inside a network leave an error of their own size, which no share of the result tells."""
        values = self.network.values(self.inputs.middle)
        largest = self.inputs.middle.new_zeros(len(self))
        for node, value in zip(self.network.nodes, values, strict=True):
            summed = value.abs()
            if isinstance(node.operator, Affine):
                constant = node.operator.constant
                summed = node.operator.absolute(values[node.inputs[0]].abs()) + (0.0 if constant is None else constant.abs())
            largest = torch.maximum(largest, summed.flatten(1).amax(1))
        ends = torch.bmm(self.rows.abs(), values[-1].flatten(1).abs()[:, :, None]).squeeze(2) + self.offset.abs()
        return ROUNDING * torch.maximum(largest, ends.amax(1))

    def lowered(self, slack: Tensor) -> "Question":
        """The same question with all rows less by slack [n]: what is safe here is safe by more than that."""
        return Question(self.network, self.inputs, self.rows, self.offset - slack[:, None], self.clause)

    def at(self, x: Tensor) -> Tensor:
        """[n, r]: rows . network(x) + offset for inputs [n, *in]."""
        return torch.bmm(self.rows.to(x.dtype), self.network(x).flatten(1)[:, :, None]).squeeze(2) + self.offset.to(x.dtype)
