"""Slips that were planted or found once: what a tired programmer might write, and the tests that must notice. Every fixed bug adds one."""

from slips.areas import attacks, bounds, certificates, core, evaluation, models, records, threats

SLIPS = (*core.SLIPS, *threats.SLIPS, *attacks.SLIPS, *models.SLIPS, *evaluation.SLIPS, *records.SLIPS, *bounds.SLIPS, *certificates.SLIPS)
