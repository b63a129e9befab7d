"""Progress of long work, with an estimate of what is left. On a terminal one line, elsewhere a line now and then."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

LINE_EVERY_S = 15.0


@dataclass
class Progress:
    """Counts finished work and says how long the rest will take. Silent without a stream."""

    stream: TextIO | None = None
    clock: Callable[[], float] = time.monotonic
    total: int = 0
    done: int = 0
    reused: int = 0
    failed: int = 0
    is_overall: bool = False
    """Counts over several runs: what a single run begins is part of it."""
    _started: float = field(default=0.0, repr=False)
    _said: float = field(default=float("-inf"), repr=False)

    @classmethod
    def on_stderr(cls) -> "Progress":
        """Progress for people at a terminal."""
        return cls(stream=sys.stderr)

    def begin(self, total: int) -> None:
        """Start (again) with this much work ahead, unless this run is a part of counted work."""
        if self.is_overall:
            self._started = self._started if self.done else self.clock()
            return
        self.total, self.done, self.reused, self.failed = total, 0, 0, 0
        self._started, self._said = self.clock(), float("-inf")

    def begin_overall(self, total: int) -> None:
        """Start with the work of all the runs to come."""
        self.begin(total)
        self.is_overall = True

    def advance(self, label: str, *, is_reused: bool = False, is_failed: bool = False) -> None:
        """One piece of work ended. What was stored already says nothing about the time that the rest takes."""
        self.done += 1
        self.reused += is_reused
        self.failed += is_failed
        self._show(self.line(label), is_last=self.done >= self.total)

    @property
    def eta_s(self) -> float | None:
        """Seconds left, or None before anything was computed."""
        computed = self.done - self.reused
        if not computed or not self.total:
            return None
        return (self.clock() - self._started) / computed * (self.total - self.done)

    def line(self, label: str) -> str:
        """The state in words, e.g. `12 of 48 (4 stored already), 1 failed, about 3 min left: pca q=0.1`."""
        return f"{self.count()}: {label}"

    def count(self) -> str:
        """How much is done, stored already and failed, and the time left."""
        notes = [f"{self.reused} stored already"] * bool(self.reused) + [f"{self.failed} failed"] * bool(self.failed)
        eta = f", {duration(self.eta_s)} left" if self.eta_s is not None and self.done < self.total else ""
        return f"{self.done} of {self.total}{' (' + ', '.join(notes) + ')' if notes else ''}{eta}"

    def step(self, text: str) -> None:
        """What a worker is doing now, beside the count: on a terminal at once, elsewhere a line now and then."""
        self._show(f"{self.count()}: {text}", is_last=False)

    def say(self, text: str) -> None:
        """A line of its own, whatever the count."""
        if self.stream:
            self.stream.write(f"\r\x1b[K{text}\n" if self.stream.isatty() else f"{text}\n")
            self.stream.flush()

    def _show(self, text: str, *, is_last: bool) -> None:
        if self.stream is None:
            return
        if self.stream.isatty():
            self.stream.write(f"\r\x1b[K{text}" + ("\n" if is_last else ""))
        elif is_last or self.clock() - self._said >= LINE_EVERY_S:
            self.stream.write(text + "\n")
            self._said = self.clock()
        self.stream.flush()


def duration(seconds: float | None) -> str:
    """Seconds in words: `about 40 s`, `about 3 min`, `about 2.5 h`."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5_400 else f"about {seconds / 3_600:.1f} h"
