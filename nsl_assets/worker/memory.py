"""Whether an error means that memory ran out: Python's, NumPy's, torch's on the CPU and on a GPU."""

_TORCH_WORDS = ("can't allocate memory", "not enough memory", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """True for MemoryError and for torch's errors, which are RuntimeErrors and partly told by their words."""
    if isinstance(error, MemoryError):
        return True
    return type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _TORCH_WORDS)
    )
