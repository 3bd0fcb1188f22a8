"""Attacks, and the rule for their steps that they share."""
