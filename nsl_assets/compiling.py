"""How loops over counts are compiled: one decorator for the kernels of all rooms."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile on first use, keep the machine code on disk, and run without the interpreter's lock."""
    result: Callable[Parameters, Result] = numba.njit(nogil=True, cache=True)(function)
    return result
