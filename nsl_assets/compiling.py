"""How loops over counts and points are compiled: two decorators for the kernels of all rooms."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile on first use, keep the machine code on disk, and run without the interpreter's lock."""
    result: Callable[Parameters, Result] = numba.njit(nogil=True, cache=True)(function)
    return result


def inlined(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """The same for a step of a loop that must vectorise: a call that is left in it would prevent that."""
    result: Callable[Parameters, Result] = numba.njit(forceinline=True, cache=True)(function)
    return result
