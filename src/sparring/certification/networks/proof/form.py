"""The proof for one sample: leaves that cover the input set, each with its bounds.

How a checker goes about it, for one sample with input set X, rows c_i . y + o_i (see `Query`), and activations and shapes of the network:

1. Root bounds: intervals of all nodes over X, cut, at every node that a ReLU takes, node by node, with the backward bounds whose lower slopes are
   1 where high >= -low and 0 elsewhere ("default slopes"); for other activations the lines of `bounds.relax`.
2. `tightenings` of the proof, in order: each bounds single numbers of one node at slopes it names, with the bounds known before it, and cuts them.
   Those of one node that follow each other do not know of each other (a node does not depend on itself).
3. For every leaf, from the root bounds after its first `tightened` tightenings: cut the bounds of what goes into the activation of every split at 0; then
   its own `tightenings`, in order; then the backward bound of sum_i weights_i (c_i . y + o_i) at its slopes and multipliers has to be positive.
4. For every disjunct of the sample, the leaves of that disjunct cover X: the splits of a relu_split are those of a binary tree, the boxes of an
   input_split fill the box.

A backward bound at slopes a and multipliers b: walking from the rows to the input, the function g . relu(v), v in [l, u], becomes
(g+ a - g- u / (u - l)) v + g- u l / (u - l) where l < 0 < u, g+ and g- being its positive and negative part, g v where l >= 0, 0 where u <= 0.
Then s b v is added, s the sign of the split of v: sound because s v <= 0 on the leaf. Every slope in [0, 1] and every multiplier >= 0 is sound,
so whoever checks trusts nothing in here.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

Arrays = dict[int, np.ndarray]
"""By activation: of a leaf [*shape of the activation], of k tightened numbers [k, *shape]; float32, multipliers of linear programs float64. An activation
that is missing has default slopes, and multipliers 0."""


class Split(NamedTuple):
    """Hold one split of a ReLU.

    Number `index` of the flattened value that goes into the ReLU at node `activation`: at least 0 for sign -1, at most 0 for sign +1 (sign * value <= 0).
    """

    activation: int
    index: int
    sign: int


@dataclass(frozen=True, eq=False)
class Tightening:
    """Hold bounds of k numbers of one node.

    Bounds of k numbers of one node. index: int64 [k], in the flattened value. sign: int8 [k], +1: from below, -1: from above, so
    sign * value is bounded from below. multipliers: only where splits of the leaf stand, for tightenings of a leaf.
    """

    node: int
    index: np.ndarray
    sign: np.ndarray
    slopes: Arrays
    multipliers: Arrays = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ReluLeaf:
    """Represent one part of the input set, for one disjunct.

    weights: float64 [r], at least 0, not 0 for rows of that disjunct only: their weighted sum is positive on it. tightened:
    so many of the proof's tightenings, the first, were known to it: a checker applies just these.
    """

    disjunct: int
    weights: np.ndarray
    splits: tuple[Split, ...] = ()
    tightened: int = 0
    slopes: Arrays = field(default_factory=dict)
    multipliers: Arrays = field(default_factory=dict)
    tightenings: tuple[Tightening, ...] = ()


@dataclass(frozen=True, eq=False)
class ReluProof:
    """Hold a proof by splits of ReLUs.

    A single leaf a disjunct without splits is what intervals, CROWN and alpha-CROWN prove. A leaf whose bounds cross (low above high) is empty and
    proved.
    """

    leaves: tuple[ReluLeaf, ...]
    tightenings: tuple[Tightening, ...] = ()
    kind: Literal["relu_split"] = "relu_split"


@dataclass(frozen=True, eq=False)
class BoxLeaf:
    """Hold one box of a proof by splits of the input.

    One box, float64 [*in] each, with bounds of its own from intervals and CROWN at default slopes (step 1 on the box). weights: by disjunct, float64 [r].
    """

    low: np.ndarray
    high: np.ndarray
    weights: dict[int, np.ndarray]
    slopes: Arrays = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class InputProof:
    """Hold a proof by splits of the input.

    The leaves fill the box of the sample, each safe for every disjunct it names; every disjunct is named by leaves that fill the box.
    """

    leaves: tuple[BoxLeaf, ...]
    kind: Literal["input_split"] = "input_split"
