"""Threats: what the adversary may do and wants, such as `sp.threats.linf(0.1)`."""

from typing import TYPE_CHECKING

from sparring.core.group import group

if TYPE_CHECKING:
    from sparring.core.threat import Budget as Budget
    from sparring.core.threat import Threat as Threat
    from sparring.threats.add import Add as Add
    from sparring.threats.erase import Erase as Erase
    from sparring.threats.goals import Targeted as Targeted
    from sparring.threats.goals import Untargeted as Untargeted
    from sparring.threats.threats import colour as colour
    from sparring.threats.threats import corruptions as corruptions
    from sparring.threats.threats import flow as flow
    from sparring.threats.threats import l0 as l0
    from sparring.threats.threats import l1 as l1
    from sparring.threats.threats import l2 as l2
    from sparring.threats.threats import linf as linf
    from sparring.threats.threats import patch as patch
    from sparring.threats.threats import rules as rules
    from sparring.threats.threats import spatial as spatial
    from sparring.threats.threats import words as words
    from sparring.threats.value_goals import Above as Above
    from sparring.threats.value_goals import Away as Away
    from sparring.threats.value_goals import Below as Below
    from sparring.threats.value_goals import Down as Down
    from sparring.threats.value_goals import Up as Up

group(
    __name__,
    {
        "linf": "threats.threats",
        "l2": "threats.threats",
        "l1": "threats.threats",
        "l0": "threats.threats",
        "patch": "threats.threats",
        "rules": "threats.threats",
        "words": "threats.threats",
        "spatial": "threats.threats",
        "flow": "threats.threats",
        "colour": "threats.threats",
        "corruptions": "threats.threats",
        "Targeted": "threats.goals",
        "Untargeted": "threats.goals",
        **dict.fromkeys(("Away", "Up", "Down", "Above", "Below"), "threats.value_goals"),
        "Add": "threats.add",
        "Erase": "threats.erase",
        "Threat": "core.threat",
        "Budget": "core.threat",
    },
)
