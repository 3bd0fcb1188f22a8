"""What an answer is: one file per task."""

from typing import TYPE_CHECKING

from sparring.core.group import group

if TYPE_CHECKING:
    from sparring.tasks.classes import Classes as Classes
    from sparring.tasks.labels import Labels as Labels
    from sparring.tasks.labels import labels as labels
    from sparring.tasks.mask import Mask as Mask
    from sparring.tasks.mask import mask as mask
    from sparring.tasks.values import Values as Values

group(
    __name__,
    {
        "Classes": "tasks.classes",
        "Labels": "tasks.labels",
        "labels": "tasks.labels",
        "Mask": "tasks.mask",
        "mask": "tasks.mask",
        "Values": "tasks.values",
    },
)
