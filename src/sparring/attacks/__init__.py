"""All attacks by name: `sparring.attacks.pgd`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparring.attacks.attack import Attack


def __getattr__(name: str) -> "Attack":
    from sparring.core.registry import everything, find

    if name.startswith("_"):
        raise AttributeError(name)
    if name not in everything("attack"):
        try:
            find("attack", name)
        except ValueError as error:
            raise AttributeError(str(error)) from None
    return find("attack", name)


def __dir__() -> list[str]:
    from sparring.core.registry import everything

    return list(everything("attack"))
