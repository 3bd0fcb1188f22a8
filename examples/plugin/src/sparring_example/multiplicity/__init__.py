"""Multiplicity: whether an answer depends on chance in the training."""
