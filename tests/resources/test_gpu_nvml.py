"""GPUs as NVML shows them: read from a stand-in for `pynvml` with its functions, structures and errors."""

import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from nsl_resources.admission import nvml, processes, visible
from nsl_resources.admission.rooms import room
from nsl_resources.gpu import (
    Device,
    Lease,
    Need,
    NvmlProbe,
    Reading,
    gpu_devices,
    node_probe,
)

MIB = 2**20
A, B, C = "GPU-aaaa-1", "GPU-aabb-2", "GPU-cccc-3"


@dataclass
class Card:
    """A GPU, or a MIG device, as the driver sees it. `processes`: (pid, MiB or None)."""

    uuid: str
    total_mib: int = 81_559
    reserved_mib: int = 551
    used_mib: int = 0
    processes: list[tuple[int, int | None]] = field(default_factory=list)
    slots: "list[Card | None] | None" = None  # its MIG devices where MIG is on
    has_mig: bool = True
    error: str | None = None


def fake_pynvml(cards: list[Card], init_error: str | None = None, *, has_memory_v2: bool = True) -> ModuleType:
    """Handles are the cards themselves; an error is named as in `pynvml`, NVMLError_<name>."""
    module: Any = ModuleType("pynvml")
    module.NVMLError = type("NVMLError", (Exception,), {})
    names = "LibraryNotFound DriverNotLoaded LibRmVersionMismatch NotSupported NotFound FunctionNotFound GpuIsLost"
    for name in [*names.split(), "NoPermission"]:
        setattr(module, f"NVMLError_{name}", type(f"NVMLError_{name}", (module.NVMLError,), {}))
    module.NVML_DEVICE_MIG_ENABLE = 1
    module.nvmlMemory_v2 = 0x02000028

    def fail(name: str | None) -> None:
        if name is not None:
            raise getattr(module, f"NVMLError_{name}")(name)

    def function(body: Callable[..., Any]) -> None:
        def checked(*args: Any, **kwargs: Any) -> Any:
            fail(next((card.error for card in args if isinstance(card, Card)), None))
            return body(*args, **kwargs)

        setattr(module, body.__name__, checked)

    @function
    def nvmlInit() -> None:
        fail(init_error)

    @function
    def nvmlDeviceGetCount() -> int:
        return len(cards)

    @function
    def nvmlDeviceGetHandleByIndex(index: int) -> Card:
        fail(cards[index].error)
        return cards[index]

    @function
    def nvmlDeviceGetUUID(card: Card) -> str:
        return card.uuid

    @function
    def nvmlDeviceGetMigMode(card: Card) -> list[int]:
        fail(None if card.has_mig else "NotSupported")
        return [int(card.slots is not None), 0]

    @function
    def nvmlDeviceGetMaxMigDeviceCount(card: Card) -> int:
        return len(card.slots or ())

    @function
    def nvmlDeviceGetMigDeviceHandleByIndex(card: Card, index: int) -> Card:
        part = (card.slots or ())[index]
        fail("NotFound" if part is None else None)
        assert part is not None
        return part

    @function
    def nvmlDeviceGetMemoryInfo(card: Card, version: int | None = None) -> SimpleNamespace:
        fail("FunctionNotFound" if version and not has_memory_v2 else None)
        used_mib = card.used_mib if version else card.used_mib + card.reserved_mib
        free_mib = card.total_mib - card.reserved_mib - card.used_mib
        return SimpleNamespace(total=card.total_mib * MIB, used=used_mib * MIB, free=free_mib * MIB)

    @function
    def nvmlDeviceGetComputeRunningProcesses(card: Card) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(pid=pid, usedGpuMemory=None if mib is None else mib * MIB) for pid, mib in card.processes
        ]

    return module  # type: ignore[no-any-return]


Install = Callable[..., ModuleType]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    def put(*cards: Card, **settings: Any) -> ModuleType:
        module = fake_pynvml(list(cards), **settings)
        monkeypatch.setitem(sys.modules, "pynvml", module)
        return module

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(nvml, "_SAMPLE_S", 0.0)
    monkeypatch.setattr(processes, "is_first_pid_namespace", lambda: True)
    nvml._warn.cache_clear()
    visible._note_unknown.cache_clear()
    return put


def ids() -> list[str]:
    return [device.id for device in gpu_devices()]


# ---- devices


def test_gpus_are_listed_by_uuid_with_the_memory_that_programs_can_have(install: Install) -> None:
    install(Card(A, total_mib=81_559, reserved_mib=551), Card(B, total_mib=8_192, reserved_mib=192, has_mig=False))
    large, small = gpu_devices()
    assert (large.kind, large.id, large.cores, large.is_partition) == ("gpu", A, 0, False)
    assert large.total_mib == 81_008
    assert large.budget_mib == 81_008 - 81_008 // 40
    assert (small.total_mib, small.headroom_mib) == (8_000, 512)


def test_mig_devices_stand_in_for_their_gpu(install: Install) -> None:
    parts = [Card("MIG-1", 10_000, 0), None, Card("MIG-2", 20_000, 0)]
    install(Card(A), Card(B, slots=parts), Card(C, slots=[None]))
    assert ids() == [A, "MIG-1", "MIG-2"]
    assert [device.is_partition for device in gpu_devices()] == [False, True, True]
    assert gpu_devices()[2].total_mib == 20_000


def test_an_older_driver_serves_too(install: Install) -> None:
    install(Card(A, 10_000, 500, used_mib=1_000), has_memory_v2=False)
    probe = NvmlProbe()
    (device,) = probe.devices()
    assert (device.total_mib, probe.used_mib(device)) == (10_000, 1_500)


@pytest.mark.parametrize("error", ["LibraryNotFound", "DriverNotLoaded"])
def test_a_machine_without_gpus_has_none_and_says_nothing(
    install: Install, caplog: pytest.LogCaptureFixture, error: str
) -> None:
    install(init_error=error)
    assert gpu_devices() == ()
    assert not caplog.records


def test_a_driver_that_errors_is_named_once(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install(Card(A), init_error="LibRmVersionMismatch")
    assert gpu_devices() == gpu_devices() == ()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "LibRmVersionMismatch" in record.getMessage() and "no GPU is used" in record.getMessage()


def test_a_broken_gpu_is_left_out_and_keeps_its_index(
    install: Install, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(Card(A, error="GpuIsLost"), Card(B))
    assert ids() == [B]
    assert "GPU 0 cannot be used (GpuIsLost)" in caplog.text
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert ids() == [B]


def test_a_gpu_of_another_job_is_not_even_counted(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(Card(A, error="NoPermission"), Card(B))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert ids() == [B]


# ---- CUDA_VISIBLE_DEVICES


@pytest.mark.parametrize(
    ("variable", "shown"),
    [
        (None, [A, B, "MIG-1", "MIG-2"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1", [B]),
        ("1, 0", [B, A]),
        ("0,0", [A]),
        ("2", ["MIG-1", "MIG-2"]),
        (f"{B},{A}", [B, A]),
        ("GPU-aab", [B]),
        ("MIG-2,0", ["MIG-2", A]),
        ("0,-1,1", [A]),
    ],
)
def test_what_is_hidden_from_the_launcher_is_not_offered(
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variable: str | None,
    shown: list[str],
) -> None:
    install(Card(A), Card(B), Card(C, slots=[Card("MIG-1", 9_000), Card("MIG-2", 9_000)]))
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert ids() == shown
    assert not caplog.records


@pytest.mark.parametrize(
    ("variable", "shown", "unknown"),
    [("0,7,1", [A], "7"), ("GPU-aa", [], "GPU-aa"), ("1,GPU-zz,0", [B], "GPU-zz"), ("cuda:0", [], "cuda:0")],
)
def test_a_list_ends_where_it_names_nothing_or_too_much_and_says_so(
    *,
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variable: str,
    shown: list[str],
    unknown: str,
) -> None:
    install(Card(A), Card(B))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert ids() == shown
    (record,) = caplog.records
    assert repr(unknown) in record.getMessage() and repr(variable) in record.getMessage()


# ---- use


def only(probe: NvmlProbe) -> Device:
    (device,) = probe.devices()
    return device


def test_use_is_that_of_the_trees_of_lease_holders(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """10 holds a lease and has a child 11 with a child 12; 20 holds one as well; 99 is somebody else's."""
    parents = {10: 1, 11: 10, 12: 11, 20: 12, 21: 20, 99: 1, 1: 0}
    monkeypatch.setattr(
        processes, "find", lambda pid: processes.Process(pid, parents[pid], "s", 0.0) if pid in parents else None
    )
    monkeypatch.setattr(processes, "exists", parents.__contains__)
    install(Card(A, used_mib=10_000, processes=[(10, 100), (12, 2_000), (21, 3_000), (99, 4_000)]))
    probe = NvmlProbe()
    assert probe.used_mib(only(probe)) == 10_000
    assert probe.used_by_mib(only(probe), {10, 20, 30}) == {10: 2_100, 20: 3_000, 30: 0}


def test_our_own_process_is_found(install: Install) -> None:
    install(Card(A, used_mib=700, processes=[(os.getpid(), 600)]))
    probe = NvmlProbe()
    assert probe.used_by_mib(only(probe), {os.getppid()}) == {os.getppid(): 600}


def nobody(pid: int) -> bool:
    return False


@pytest.mark.parametrize("why", ["another namespace", "ids that do not exist", "no amounts"])
def test_use_that_cannot_be_told_apart_is_attributed_to_nobody(
    install: Install, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    me = os.getpid()
    install(Card(A, used_mib=5_000, processes=[(me, None if why == "no amounts" else 4_000)]))
    if why == "another namespace":
        monkeypatch.setattr(processes, "is_first_pid_namespace", lambda: False)
    if why == "ids that do not exist":
        monkeypatch.setattr(processes, "exists", nobody)
    probe = NvmlProbe()
    assert probe.used_by_mib(only(probe), {me}) is None
    assert probe.used_mib(only(probe)) == 5_000


def test_amounts_of_others_are_not_needed(install: Install) -> None:
    install(Card(A, used_mib=5_000, processes=[(1, None), (os.getpid(), 2_000)]))
    probe = NvmlProbe()
    assert probe.used_by_mib(only(probe), {os.getpid()}) == {os.getpid(): 2_000}


def test_own_use_that_cannot_be_told_apart_is_not_counted_twice() -> None:
    device = Device("gpu", A, 80_000, 2_000, 78_000, 0)
    leases = [Lease(str(pid), Need(1, 1, 1, mib), (A,), pid, "s", "l") for pid, mib in ((1, 20_000), (2, 10_000))]
    inside = room(Reading(device, 25_000, None), leases)
    assert (inside.foreign_mib, inside.free_mib) == (0, 78_000 - 30_000)
    beyond = room(Reading(device, 37_000, None), leases)
    assert (beyond.foreign_mib, beyond.free_mib) == (7_000, 80_000 - 2_000 - 37_000)
    assert room(Reading(device, 5_000, None), []).free_mib == 73_000


def test_a_gpu_that_is_lost_while_we_run_gets_nothing_new_until_it_answers(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    card = Card(A, used_mib=100)
    install(card)
    probe = NvmlProbe()
    card.error = "GpuIsLost"
    for _ in range(2):
        assert probe.used_mib(only(probe)) == only(probe).total_mib
    reading = Reading(only(probe), probe.used_mib(only(probe)), probe.used_by_mib(only(probe), {1}))
    assert room(reading, []).free_mib < 0
    assert len(caplog.records) == 1
    card.error = None
    assert probe.used_mib(only(probe)) == 100


def test_readings_are_shared_for_a_quarter_of_a_second(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "_SAMPLE_S", 0.25)
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    card = Card(A, used_mib=100)
    install(card)
    probe = NvmlProbe()
    assert probe.used_mib(only(probe)) == 100
    card.used_mib = 200
    assert probe.used_mib(only(probe)) == 100
    now_s += 0.25
    assert probe.used_mib(only(probe)) == 200


# ---- the node


def test_a_node_is_its_host_and_its_gpus(install: Install) -> None:
    install(Card(A, used_mib=300, processes=[(os.getpid(), 250)]), Card(B, used_mib=40))
    probe = node_probe(memory_mib=1_000, cores=2)
    host, first, second = probe.devices()
    assert (host.kind, host.budget_mib, host.cores) == ("host", 1_000, 2)
    assert [probe.used_mib(first), probe.used_mib(second)] == [300, 40]
    assert probe.used_by_mib(first, {os.getpid()}) == {os.getpid(): 250}
    on_host = probe.used_by_mib(host, {os.getpid()})
    assert on_host is not None and on_host[os.getpid()] > 10


def test_gpus_are_left_alone_where_they_are_not_to_be_used(install: Install) -> None:
    install(Card(A))
    assert [device.kind for device in node_probe(use_gpus=False).devices()] == ["host"]
