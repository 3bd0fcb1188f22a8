"""Progress of a run: one bar on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sparring.cli.terminal import Terminal, echo
from sparring.core.visible import visible


class Display:
    """Show the events of a run.

    On a terminal it draws one bar with rate and time left, else a
    line when a case begins and every ten seconds. `quiet` draws nothing.
    """

    def __init__(self, quiet: bool):
        self.quiet = quiet
        self.console = Terminal(stderr=True)
        self.live = self.console.is_terminal and not quiet
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self.task = self.bar.add_task("starting", total=None, rate="")
        self.began = self.last = time.monotonic()
        self.done = self.total = 0
        self.unit = "sample"

    def __enter__(self) -> "Display":
        if self.live:
            self.bar.start()
        return self

    def __exit__(self, *reason: object) -> None:
        if self.live:
            self.bar.stop()

    def __call__(self, event: str, details: dict[str, Any]) -> None:
        if event == "started":
            self.total = details["total"]
            self.began = time.monotonic()
            self.bar.update(self.task, total=self.total)
            self._line(f"record {details['record']}")
        elif event == "case":
            self.unit = details["unit"]
            self._line(f"case {details['case']}")
        elif event == "batch":
            self.done += details["samples"]
            rate = self.done / max(1e-9, time.monotonic() - self.began)
            self.bar.update(self.task, completed=self.done, description=visible(f"{details['case']} · {details['attack']}"), rate=f"{rate:,.0f} {self.unit}s/s")
            if time.monotonic() - self.last > 10:
                self.last = time.monotonic()
                left = (self.total - self.done) / max(rate, 1e-9)
                self._line(f"{self.done} of {self.total} {self.unit}s x methods, {rate:,.0f}/s, about {left:.0f} s left")

    def _line(self, text: str) -> None:
        if not self.live and not self.quiet:
            echo(text, err=True)
            sys.stderr.flush()
