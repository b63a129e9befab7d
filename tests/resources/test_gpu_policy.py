"""Admission of workers with GPUs: the policy on hand-made nodes, then on simulated ones of any load."""

from nsl_resources.gpu import Device, Lease, Need, Reading, Request, decide

HOST = Device("host", "host", total_mib=500_000, headroom_mib=0, budget_mib=500_000, cores=64)


def gpu(number: int, memory_mib: int = 80_000, prefix: str = "GPU") -> Device:
    return Device("gpu", f"{prefix}-{number}", memory_mib, 0, memory_mib, 0)


def idle(*gpus: Device, host: Device = HOST) -> list[Reading]:
    return [Reading(device, 0) for device in (host, *gpus)]


NODE = idle(gpu(0), gpu(1), gpu(2))


def held(gpu_memory_mib: int, *gpus: str, memory_mib: int = 0, cores: int = 0, pid: int = 1) -> Lease:
    need = Need(memory_mib, cores, len(gpus), gpu_memory_mib)
    return Lease(f"{gpus} {memory_mib} {pid}", need, gpus, pid, "start", "label")


def wants(number: int, need: Need, since_s: float = 0.0, **more: object) -> Request:
    return Request(number, f"waiter {number}", need, since_s, **more)  # type: ignore[arg-type]


def on_gpu(gpu_memory_mib: int, n_gpus: int = 1) -> Need:
    return Need(1_000, 1, n_gpus, gpu_memory_mib)


LOADED = [held(10_000, "GPU-0"), held(50_000, "GPU-1", pid=2), held(20_000, "GPU-2", pid=3)]


def test_workers_spread_over_gpus_while_nobody_waits() -> None:
    assert decide([wants(1, on_gpu(25_000))], LOADED, NODE, 0.0).grants == {1: ("GPU-0",)}


def test_workers_are_packed_tightly_while_a_larger_one_waits_for_gpus() -> None:
    large = wants(2, on_gpu(75_000))
    decision = decide([wants(1, on_gpu(25_000)), large], LOADED, NODE, 0.0)
    assert decision.grants == {1: ("GPU-1",)}
    assert decision.blocked == {2}


def test_gpus_are_drained_one_at_a_time() -> None:
    head = wants(1, on_gpu(75_000), blocked_since_s=0.0)
    others = [Request(i, "c", on_gpu(55_000), 99.0, slots=9) for i in (3, 4)]
    late = decide([head, *others], LOADED, NODE, now_s=100.0)
    assert late.grants == {3: ("GPU-2",)}  # GPU-0, the first that is large enough, is kept for the head
