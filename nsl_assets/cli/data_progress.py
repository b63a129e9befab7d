"""Progress of a download or of making a data set: amounts and the time left, on a terminal in one line."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TextIO

from nsl_assets.datasets import Advance
from nsl_assets.progress import LINE_EVERY_S, duration

_REFRESH_EVERY_S = 0.2


@dataclass
class DataProgress:
    """Shows one piece of work after the other."""

    stream: TextIO
    clock: Callable[[], float] = time.monotonic
    _what: str = field(default="", repr=False)
    _began: float = field(default=0.0, repr=False)
    _shown: float = field(default=float("-inf"), repr=False)
    _is_line_open: bool = field(default=False, repr=False)

    @classmethod
    def on_stderr(cls) -> "DataProgress":
        """Progress for people at a terminal."""
        return cls(sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_line_open:
            self.stream.write("\n")
            self.stream.flush()

    def advance(self, advance: Advance) -> None:
        """Show how far a piece of work has come, unless something was shown a moment ago."""
        now = self.clock()
        is_new, is_last = advance.what != self._what, advance.done == advance.total
        if is_new:
            self._what, self._began = advance.what, now
        every_s = _REFRESH_EVERY_S if self.stream.isatty() else LINE_EVERY_S
        if is_new or is_last or now - self._shown >= every_s:
            self._shown = now
            self._write(self.line(advance), is_last=is_last)

    def line(self, advance: Advance) -> str:
        """The state in words, e.g. ``counts.mtx.gz: 120.0 of 300.0 MB (40 %), about 3 min left``."""
        if not advance.done and advance.total is None:
            return f"{advance.what} …"
        amount = _amount(advance.done, advance.unit) if advance.total is None else _share(advance)
        return f"{advance.what}: {amount}{self._left(advance)}"

    def _left(self, advance: Advance) -> str:
        new, elapsed_s = advance.done - advance.resumed_from, self.clock() - self._began
        if not advance.total or advance.done >= advance.total or new <= 0 or elapsed_s <= 0:
            return ""
        return f", {duration(elapsed_s / new * (advance.total - advance.done))} left"

    def _write(self, text: str, *, is_last: bool) -> None:
        if self.stream.isatty():
            self.stream.write(f"\r\x1b[K{text}" + ("\n" if is_last else ""))
            self._is_line_open = not is_last
        else:
            self.stream.write(f"{text}\n")
        self.stream.flush()


def _share(advance: Advance) -> str:
    total = advance.total or 0
    done, of = _amount(advance.done, advance.unit, with_unit=False), _amount(total, advance.unit)
    return f"{done} of {of} ({100 * advance.done // max(total, 1)} %)"


def _amount(value: int, unit: str, *, with_unit: bool = True) -> str:
    text, name = (f"{value / 1e6:,.1f}", "MB") if unit == "bytes" else (f"{value:,}", "cells")
    return f"{text} {name}" if with_unit else text
