"""Whether an error means that memory ran out: Python's, the system's, NumPy's, torch's on the CPU and on a GPU."""

import errno
from typing import Final

_TORCH_WORDS: Final = ("can't allocate memory", "not enough memory", "out of memory", "alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """True for MemoryError, ENOMEM and torch's errors, which are RuntimeErrors and partly told by their words."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _TORCH_WORDS)
