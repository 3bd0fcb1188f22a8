"""Identifiers of attacks in the taxonomies that reviewers cite: NIST AI 100-2 and MITRE ATLAS."""

from typing import NamedTuple

VERSIONS = "NIST AI 100-2 E2025; MITRE ATLAS 5.6.0"
"""Editions that the identifiers are taken from."""


class Taxonomy(NamedTuple):
    """Hold the identifiers of one kind of attack; empty if it has none."""

    nist: str
    atlas: str

    def __str__(self) -> str:
        return ", ".join(filter(None, self))


WHITE_BOX = Taxonomy("NISTAML.022", "AML.T0043.000")
BLACK_BOX = Taxonomy("NISTAML.025", "AML.T0043.001")
TRANSFER = Taxonomy("NISTAML.025", "AML.T0043.002")
MANUAL = Taxonomy("NISTAML.022", "AML.T0043.003")
AVAILABILITY_POISONING = Taxonomy("NISTAML.013", "AML.T0020")
MEMBERSHIP = Taxonomy("NISTAML.033", "AML.T0024.000")
EXTRACTION = Taxonomy("NISTAML.031", "AML.T0024.002")
