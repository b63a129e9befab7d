"""The GPUs as devices: what NVIDIA's management library (NVML) tells. CUDA is never initialised here.

A GPU in MIG mode is not listed; its MIG devices are. Without a driver there are no GPUs, which is nothing to report.
"""

import logging
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Final

from nsl_resources.admission import processes
from nsl_resources.admission.needs import GPU, Device
from nsl_resources.admission.visible import VISIBLE_VARIABLE, visible_ids

_MIB: Final = 2**20
_SAMPLE_S: Final = 0.25
_LOG: Final = logging.getLogger(__name__)


def gpu_devices() -> tuple[Device, ...]:
    """The GPUs that this process may use; empty where there are none. Their `budget_mib` is what a worker can get."""
    return tuple(NvmlProbe().devices())


def gpu_headroom_mib(total_mib: int) -> int:
    """Memory that stays free for what nobody predicts: 1 in 40, at least 512 MiB, at most a quarter."""
    return min(max(total_mib // 40, 512), total_mib // 4)


@dataclass(frozen=True)
class _Sample:
    """Use of a device at a time: of all, and of each process; None if ids or amounts cannot be known."""

    taken_s: float
    used_mib: int
    used_by_mib: Mapping[int, int | None] | None


class NvmlProbe:
    """The GPUs that `CUDA_VISIBLE_DEVICES` of this process shows. A reading is at most 0.25 s old."""

    def __init__(self) -> None:
        self._nvml = _open()
        self._handles: dict[str, Any] = {}
        self._devices: tuple[Device, ...] = ()
        self._samples: dict[str, _Sample] = {}
        if self._nvml is not None:
            self._handles = _visible_handles(self._nvml)
            self._devices = tuple(_devices(self._nvml, self._handles))

    def devices(self) -> Sequence[Device]:
        """The visible GPUs and MIG devices, in CUDA's order; their ids are their UUIDs."""
        return self._devices

    def used_mib(self, device: Device) -> int:
        """MiB in use by whomever, the driver's own reserve left out. All of it if the device stopped answering."""
        return self._sample(device).used_mib

    def used_by_mib(self, device: Device, pids: Collection[int]) -> Mapping[int, int] | None:
        """MiB in use by each process tree.

        None where the driver's process ids are not ours (containers), or it does not tell the memory of ours.
        """
        found = self._sample(device).used_by_mib
        if found is None:
            return None
        used = dict.fromkeys(pids, 0)
        for pid, mib in found.items():
            root = processes.nearest(pid, pids)
            if root is not None and mib is None:
                return None
            if root is not None and mib is not None:
                used[root] += mib
        return used

    def _sample(self, device: Device) -> _Sample:
        sample = self._samples.get(device.id)
        if sample is None or time.monotonic() - sample.taken_s >= _SAMPLE_S:
            sample = self._samples[device.id] = self._measure(device)
        return sample

    def _measure(self, device: Device) -> _Sample:
        nvml, handle = self._nvml, self._handles[device.id]
        assert nvml is not None
        try:
            _, used_mib = _memory_mib(nvml, handle)
            used_by_mib = _memory_by_process_mib(nvml, handle)
        except nvml.NVMLError as error:
            _warn(f"GPU {device.id} does not answer ({error}): nothing new is started on it until it does.")
            return _Sample(time.monotonic(), device.total_mib, {})
        return _Sample(time.monotonic(), used_mib, used_by_mib)


def _open() -> ModuleType | None:
    import pynvml

    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return None
    except pynvml.NVMLError as error:
        _warn(f"the NVIDIA driver answers with an error ({error}): no GPU is used. See what `nvidia-smi` says.")
        return None
    return pynvml  # type: ignore[no-any-return, unused-ignore]


def _visible_handles(nvml: ModuleType) -> dict[str, Any]:
    """UUID -> handle, of what this process may use."""
    try:
        gpus = dict(_gpus(nvml))
    except nvml.NVMLError as error:
        _warn(f"the NVIDIA driver cannot list its GPUs ({error}): none is used. See what `nvidia-smi` says.")
        return {}
    handles = {name: handle for members in gpus.values() for name, handle in members.items()}
    ids = visible_ids({gpu: list(members) for gpu, members in gpus.items()}, os.environ.get(VISIBLE_VARIABLE))
    return {name: handles[name] for name in ids}


def _gpus(nvml: ModuleType) -> Iterator[tuple[str, dict[str, Any]]]:
    """UUID of each GPU by index -> handles by UUID: of its MIG devices, or of itself; of nothing if it is broken."""
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            gpu, parts = nvml.nvmlDeviceGetUUID(handle), _partitions(nvml, handle)
            found = {gpu: handle} if parts is None else {nvml.nvmlDeviceGetUUID(part): part for part in parts}
        except nvml.NVMLError_NoPermission:
            continue  # another job's GPU: CUDA does not count it either
        except nvml.NVMLError as error:
            _warn(f"GPU {index} cannot be used ({error}). See what `nvidia-smi` says.")
            yield f"GPU {index}", {}
        else:
            yield gpu, found


def _partitions(nvml: ModuleType, handle: Any) -> list[Any] | None:
    """The MIG devices of a GPU in MIG mode, None for any other GPU."""
    try:
        mode, _ = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError_NotSupported:
        return None
    if mode != nvml.NVML_DEVICE_MIG_ENABLE:
        return None
    parts = []
    for slot in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        with suppress(nvml.NVMLError_NotFound):  # an empty slot
            parts.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, slot))
    return parts


def _devices(nvml: ModuleType, handles: Mapping[str, Any]) -> Iterator[Device]:
    for name, handle in handles.items():
        try:
            total_mib, _ = _memory_mib(nvml, handle)
        except nvml.NVMLError as error:
            _warn(f"GPU {name} does not tell its memory ({error}) and is not used.")
            continue
        headroom_mib = gpu_headroom_mib(total_mib)
        yield Device(GPU, name, total_mib, headroom_mib, total_mib - headroom_mib, cores=0)


def _memory_mib(nvml: ModuleType, handle: Any) -> tuple[int, int]:
    """(what programs can have, what they have). Version 2 leaves out the driver's reserve, which nobody can have."""
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return (memory.free + memory.used) // _MIB, -(-memory.used // _MIB)


def _memory_by_process_mib(nvml: ModuleType, handle: Any) -> dict[int, int | None] | None:
    """MiB by process id, None for an amount that the driver does not tell; None at all if the ids are not ours."""
    try:
        found = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except nvml.NVMLError_NotSupported:
        return None
    if not processes.is_first_pid_namespace() or not all(processes.exists(entry.pid) for entry in found):
        return None
    return {entry.pid: None if entry.usedGpuMemory is None else -(-entry.usedGpuMemory // _MIB) for entry in found}


@cache
def _warn(text: str) -> None:
    """Once for each text."""
    _LOG.warning("%s", text)
