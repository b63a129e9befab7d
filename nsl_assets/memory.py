"""Memory that ran out, by its errors (Python's, the system's, NumPy's, torch's), and the most that a GPU held."""

import errno
import sys
from typing import Final

_TORCH_WORDS: Final = ("can't allocate memory", "not enough memory", "out of memory", "alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """True for MemoryError, ENOMEM and torch's errors, which are RuntimeErrors and partly told by their words."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _TORCH_WORDS)


def peak_device_mib() -> float | None:
    """Largest memory that torch has reserved on the GPU of this process so far (MiB); None where it has used none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return float(torch.cuda.max_memory_reserved() / 2**20)
