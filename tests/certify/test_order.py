"""The order of bounds: each method between the one before it and the truth; less where more is allowed; the same for the same function."""

import itertools

import pytest
import torch
from certify.small_networks import box, exact_minimum, mlp, points_of
from certify.varied_networks import ALL, RELUS, in_two, permuted, rescaled, with_identities
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.certify.bounds.ascent import optimised
from sparring.certify.bounds.crown import bounds_of_bends, lower, matched, relaxations
from sparring.certify.bounds.execution import bands
from sparring.certify.bounds.inputs import InputSet
from sparring.certify.bounds.interval import intervals, margins
from sparring.certify.bounds.relax import product_planes
from sparring.certify.bounds.interval import Interval
from sparring.certify.certificate import Verdict
from sparring.certify.decide import decide
from sparring.certify.exact.programme import programme
from sparring.certify.question import Question
from sparring.models.network.operators import Add, Affine, Input, Product, Relu, Reshape, Select

EDGE = 1e-9
QUICK = {"ibp": {}, "crown": {}, "alpha": {"steps": 10}}
examples = settings(max_examples=15, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)
