"""What an answer is: one file per task."""

from typing import TYPE_CHECKING

from sparring.core.group import group

if TYPE_CHECKING:
    from sparring.tasks.classes import Classes as Classes
    from sparring.tasks.mask import Mask as Mask
    from sparring.tasks.values import Values as Values

group(__name__, {"Classes": "tasks.classes", "Mask": "tasks.mask", "Values": "tasks.values"})
