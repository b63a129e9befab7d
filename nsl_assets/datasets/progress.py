"""What a loader says while it works; who listens decides how it is shown."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Advance:
    """How far one piece of work has come.

    Attributes
    ----------
    what
        The file or step, for people.
    done, total
        In ``unit``; the total is None where nobody knows it.
    resumed_from
        What was there already when this run began, in ``unit``.
    """

    what: str
    done: int
    total: int | None
    unit: Literal["bytes", "cells"]
    resumed_from: int = 0


Report = Callable[[Advance], None]


def silent(_advance: Advance) -> None:
    """A listener that shows nothing."""
