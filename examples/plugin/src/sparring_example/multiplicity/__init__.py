"""Multiplicity: whether an answer depends on the luck of the training."""
