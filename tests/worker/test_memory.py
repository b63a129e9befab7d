"""Which errors mean that memory ran out: real ones of Python, NumPy and torch, and those that only look like it."""

import numpy as np
import pytest
import torch

from nsl_assets.memory import is_out_of_memory, peak_device_mib

HUGE = 1 << 50


@pytest.mark.parametrize("allocate", [lambda: bytearray(HUGE), lambda: np.empty(HUGE), lambda: torch.empty(HUGE)])
def test_real_allocations_that_fail_are_known(allocate):
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        allocate()
    assert is_out_of_memory(caught.value)


def test_the_error_of_a_gpu_is_known():
    assert is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), OSError(12, "mmap")]
)
def test_errors_of_libraries_and_of_the_system_are_known(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [OSError(28, "disk full"), RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("memory")]
)
def test_other_errors_are_not(error):
    assert not is_out_of_memory(error)


def test_what_a_gpu_held_is_known_once_it_is_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert peak_device_mib() is None
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 3 << 30)
    assert peak_device_mib() == 3072.0
