"""Admission of workers with GPUs: the policy on hand-made nodes."""

import pytest

from nsl_resources.admission.policy import check
from nsl_resources.gpu import AdmissionError, Ageing, Device, Lease, Need, Reading, Request, decide

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


# ---- whole grants


def test_a_need_is_granted_as_a_whole_or_not_at_all() -> None:
    """Host or GPU alone is not enough; what is refused books nothing."""
    small_host = idle(gpu(0), host=Device("host", "host", 10_000, 0, 10_000, 4))
    no_host_left = [held(0, memory_mib=9_500, cores=1)]
    no_gpu_left = [held(75_000, "GPU-0")]
    waiting = [wants(1, Need(1_000, 1, 1, 10_000)), wants(2, Need(500, 1, 1, 4_000))]
    assert decide(waiting, no_host_left, small_host, 0.0).grants == {2: ("GPU-0",)}
    assert decide(waiting, no_gpu_left, small_host, 0.0).grants == {2: ("GPU-0",)}


def test_several_gpus_are_different_ones() -> None:
    decision = decide([wants(1, on_gpu(10_000, 2)), wants(2, on_gpu(10_000, 4))], LOADED, NODE, 0.0)
    assert decision.grants == {1: ("GPU-0", "GPU-2")}  # the two emptiest; there are only three in all
    assert decision.blocked == frozenset()  # the second can never be


def test_several_workers_share_a_gpu_while_it_has_room() -> None:
    decision = decide([wants(i, on_gpu(25_000)) for i in range(5)], [], idle(gpu(0)), 0.0)
    assert decision.grants == dict.fromkeys(range(3), ("GPU-0",))


def test_gpu_memory_counts_in_the_order_of_size() -> None:
    """A worker that takes most of a GPU goes before one that takes half the host."""
    one_core_left = [held(0, cores=63)]
    waiting = [wants(1, Need(250_000, 1)), wants(2, on_gpu(60_000))]
    assert decide(waiting, one_core_left, NODE, 0.0).grants == {2: ("GPU-0",)}
    assert decide([waiting[0], wants(2, on_gpu(30_000))], one_core_left, NODE, 0.0).grants == {1: ()}


def test_mig_devices_are_given_one_to_a_worker() -> None:
    parts = idle(gpu(0, 10_000, "MIG"), gpu(1, 20_000, "MIG"), gpu(2, 80_000))
    decision = decide([wants(1, on_gpu(15_000)), wants(2, on_gpu(1_000, 2))], [], parts, 0.0)
    assert decision.grants == {1: ("GPU-2",)}
    assert decide([wants(1, on_gpu(15_000))], [], parts[:3], 0.0).grants == {1: ("MIG-1",)}


def test_a_worker_gets_only_gpus_that_its_waiter_sees() -> None:
    hidden = wants(1, on_gpu(10_000), gpus=frozenset({"host", "GPU-1"}))
    assert decide([hidden], LOADED, NODE, 0.0).grants == {1: ("GPU-1",)}
    nothing = wants(1, on_gpu(10_000), gpus=frozenset({"host"}))
    assert decide([nothing], LOADED, NODE, 0.0) == decide([], LOADED, NODE, 0.0)


# ---- draining


OVERDUE = {"since_s": 0.0, "blocked_since_s": 0.0}
FULL = [held(70_000, f"GPU-{i}", pid=i + 1) for i in range(3)]


def test_a_drained_gpu_keeps_no_worker_without_gpu_waiting() -> None:
    head = wants(1, on_gpu(50_000), **OVERDUE)
    others = [wants(2, Need(490_000, 1)), wants(3, on_gpu(5_000)), wants(4, on_gpu(6_000))]
    decision = decide([head, *others], FULL, NODE, now_s=100.0)
    assert decision.grants == {2: (), 3: ("GPU-2",), 4: ("GPU-1",)}  # GPU-0 is drained


def test_the_host_is_kept_once_there_are_gpus_to_start_on() -> None:
    """The head lacks host memory only: neither the host nor its GPU is given away any more."""
    busy_host = [held(0, memory_mib=300_000)]
    head = wants(1, Need(400_000, 1, 1, 70_000), **OVERDUE)
    others = [wants(2, Need(50_000, 1)), wants(3, Need(10, 1, 1, 70_000))]
    early = decide([head, *others], busy_host, idle(gpu(0)), now_s=59.0)
    late = decide([head, *others], busy_host, idle(gpu(0)), now_s=60.0)
    assert early.grants == {2: (), 3: ("GPU-0",)}
    assert late.grants == {}
    assert decide([head, *others], [], idle(gpu(0)), now_s=60.0).grants == {1: ("GPU-0",), 2: ()}


def test_what_a_drained_gpu_has_beside_its_promise_is_still_given() -> None:
    """The head needs two GPUs and lacks one. Of the other it needs a part only."""
    head = wants(1, on_gpu(50_000, 2), **OVERDUE)
    leases = [held(70_000, "GPU-1")]
    two = idle(gpu(0), gpu(1))
    assert decide([head, wants(2, on_gpu(30_000))], leases, two, 100.0).grants == {2: ("GPU-0",)}
    assert decide([head, wants(2, on_gpu(31_000))], leases, two, 100.0).grants == {}


def test_two_overdue_heads_never_hold_what_the_other_lacks() -> None:
    """One lacks the GPU, one lacks the host; whatever ends first, they start one after the other."""
    on_both = wants(1, Need(300_000, 1, 1, 70_000), **OVERDUE)
    on_host = wants(2, Need(300_000, 1), **OVERDUE)
    gpu_busy, host_busy = held(40_000, "GPU-0", pid=1), held(0, memory_mib=300_000, pid=2)
    one = idle(gpu(0))
    assert decide([on_both, on_host], [gpu_busy, host_busy], one, 100.0).grants == {}
    assert decide([on_both, on_host], [gpu_busy], one, 100.0).grants == {2: ()}
    assert decide([on_both, on_host], [host_busy], one, 100.0).grants == {}
    assert decide([on_both, on_host], [], one, 100.0).grants == {1: ("GPU-0",)}


def test_a_head_that_only_foreign_programs_keep_out_gives_its_place_to_the_next() -> None:
    busy = [Reading(HOST, 0), Reading(gpu(0), 30_000)]
    never, next_one = wants(1, on_gpu(70_000), **OVERDUE), wants(2, on_gpu(45_000))
    decision = decide([never, next_one, wants(3, on_gpu(5_000))], [held(40_000, "GPU-0")], busy, 100.0)
    assert decision.blocked == {2}
    assert decision.grants == {3: ("GPU-0",)}


# ---- refusals


@pytest.mark.parametrize(
    ("need", "said"),
    [
        (on_gpu(90_000), r"scvi needs 1,000 MiB and 1 core, and 90,000 MiB on a GPU, more.*GPU-0: 80,000 MiB"),
        (
            on_gpu(10_000, 4),
            r"10,000 MiB on each of 4 GPUs, more than the whole budget \(host: 500,000 MiB and 64 cores",
        ),
        (Need(600_000, 1, 1, 10), "more than the whole budget"),
    ],
)
def test_what_the_node_can_never_hold_is_refused(need: Need, said: str) -> None:
    with pytest.raises(AdmissionError, match=said):
        check(need, [HOST, gpu(0), gpu(1), gpu(2)], "scvi")


def test_a_gpu_where_there_is_none_is_refused_with_advice() -> None:
    with pytest.raises(AdmissionError, match=r"offered none that serves.*on the CPU.*CUDA_VISIBLE_DEVICES"):
        check(on_gpu(10), [HOST], "scvi")
    with pytest.raises(AdmissionError, match="MIG devices serve one by one"):
        check(on_gpu(10, 2), [HOST, gpu(0, prefix="MIG"), gpu(1, prefix="MIG")], "geneformer")
    check(on_gpu(10), [HOST, gpu(0, prefix="MIG")], "geneformer")


@pytest.mark.parametrize("numbers", [(1, 1, 1, 0), (1, 1, 0, 10), (1, 1, -1, 10), (1, 1, 1, -1), (-1, 1), (1, -1)])
def test_needs_that_mean_nothing_are_refused(numbers: tuple[int, ...]) -> None:
    with pytest.raises(AdmissionError, match="a need of"):
        Need(*numbers)


def test_a_probe_without_a_host_is_refused() -> None:
    with pytest.raises(AdmissionError, match="no device of kind 'host'"):
        decide([], [], [Reading(gpu(0), 0)], 0.0)


# ---- expected durations


def test_who_will_run_long_ranks_as_if_it_had_waited_that_long() -> None:
    """An hour of work against an hour of waiting, less a little; without an expected duration nothing changes."""
    waited = wants(1, on_gpu(15_000), since_s=0.0)
    for expected_s, first in ((3_700.0, 2), (3_500.0, 1), (None, 1)):
        new = wants(2, on_gpu(15_000), since_s=3_600.0, expected_s=expected_s)
        decision = decide([waited, new], [held(60_000, "GPU-0")], idle(gpu(0)), now_s=3_600.0)
        assert set(decision.grants) == {first}


def test_nobody_is_passed_for_longer_than_the_longest_head_start() -> None:
    """However long the others will run, who has waited two hours more than they have is served before them."""
    longest_s = Ageing().longest_head_start_s
    waited = wants(1, on_gpu(15_000), since_s=0.0)
    for_days = [wants(n, on_gpu(15_000), since_s=longest_s + 10.0, expected_s=1e6) for n in (2, 3)]
    decision = decide([waited, *for_days], [held(60_000, "GPU-0")], idle(gpu(0)), now_s=longest_s + 10.0)
    assert set(decision.grants) == {1}
