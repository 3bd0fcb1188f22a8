"""Switches of the whole process, which are the command line's to set and never the library's."""

import ctypes
import os
import signal
import sys
from types import FrameType


def stop_on_signals() -> list[str]:
    """Raise KeyboardInterrupt where a signal asks the process to end.

    A run writes then how far it came. A signal that is ignored stays so, as under nohup. Returns a list that gets the name of the signal.
    """
    stopped: list[str] = []

    def stop(number: int, frame: FrameType | None) -> None:
        for one in caught:
            signal.signal(one, signal.SIG_IGN)  # one is enough: another would interrupt the writing
        stopped.append(signal.Signals(number).name)
        raise KeyboardInterrupt(stopped[0])

    known = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    caught = [one for one in known if signal.getsignal(one) is signal.SIG_DFL]
    for one in caught:
        signal.signal(one, stop)
    return stopped


def tame_threads() -> None:
    """Let idle threads of the processor's thread pool give way soon instead of spinning.

    Where another program is busy, spinning threads slow a run many times over; giving way soon costs little
    when alone. To be called before torch is imported; what the environment says already stands.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def tune_allocator() -> bool:
    """Let glibc keep freed memory for the next step; returns whether it did.

    For a program's entry point, before large tensors exist. Large networks gain 1.1 to 2 times. Without glibc on Linux nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mmap_threshold, trim_threshold, top_pad = -3, -1, -2  # names and numbers of <malloc.h>
    settings = ((mmap_threshold, 32 << 20), (trim_threshold, 2**31 - 1), (top_pad, 64 << 20))
    return all(mallopt(*setting) for setting in settings)
