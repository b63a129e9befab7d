"""What workers are predicted to need: formula, recorded peaks, and what follows running out of memory."""

from pathlib import Path

import pytest

from nsl_resources.admission.prediction import predicted_mib
from nsl_resources.gpu import (
    GPU,
    HOST,
    Candidate,
    Device,
    Need,
    Peak,
    PeakRecords,
    WorkerKind,
    after_out_of_memory,
    pilots,
)

KIND = WorkerKind("scvi", "{}", n_genes=2_000, batch_size=512, device="gpu")
DEVICES = (Device(HOST, "host", 12_000, 2_000, 10_000, 4), Device(GPU, "GPU-0", 8_500, 500, 8_000, 0))


def test_of_each_kind_larger_ones_wait_for_the_first_of_the_smallest() -> None:
    todo = [("a3", "a", 3), ("b2", "b", 2), ("a1", "a", 1), ("a1 too", "a", 1), ("b2 too", "b", 2)]
    assert pilots(Candidate(name, kind, size) for name, kind, size in todo) == {"a3": "a1"}
    assert pilots([]) == {}


def test_without_a_record_the_formula_stands() -> None:
    assert predicted_mib(1_000.2, [], HOST) == 1_001


def test_of_the_host_the_largest_recorded_peak_is_reserved_and_of_a_gpu_the_upper_quartile() -> None:
    peaks = [Peak(1_000, mib) for mib in (700, 900, 800, 1_200)]
    assert predicted_mib(1_000, peaks, HOST) == 1_200
    assert predicted_mib(1_000, peaks, GPU) == 900


def test_other_sizes_correct_the_formula_by_the_larger_factor_of_their_neighbours() -> None:
    peaks = [Peak(1_000, 3_000), Peak(2_000, 3_000), Peak(4_000, 4_000), Peak(8_000, 80_000)]
    assert predicted_mib(3_000, peaks, HOST) == 4_950  # 1.5 at 2,000 and 1 at 4,000, and a tenth for a size not seen
    assert predicted_mib(500, peaks, HOST) == pytest.approx(1_650, abs=1)
    assert predicted_mib(9_000, peaks, HOST) == pytest.approx(99_000, abs=1)


def test_records_are_of_one_model_genes_and_batch_size(tmp_path: Path) -> None:
    records = PeakRecords(tmp_path)
    records.note(KIND, 500, Peak(1_000, 1_500), Peak(3_000, 2_000))
    assert records.predict(KIND, 1_000, 3_000) == (1_500, 2_000)
    for other in (
        WorkerKind("scvi", "{}", 4_000, 512, "gpu"),
        WorkerKind("scvi", "{}", 2_000, 128, "gpu"),
        WorkerKind("geneformer", "{}", 2_000, 512, "gpu"),
    ):
        assert records.predict(other, 1_000, 3_000) == (1_000, 3_000)


def test_records_outlive_the_process_and_the_last_twenty_workers_count(tmp_path: Path) -> None:
    for mib in (9_000, *range(1_001, 1_021)):
        PeakRecords(tmp_path).note(KIND, 500, Peak(1_000, mib))
    (record,) = PeakRecords(tmp_path).all()
    assert (len(record.host), record.host_mib, record.gpu_mib) == (20, 1_020, None)


def test_a_new_formula_makes_old_records_void(tmp_path: Path) -> None:
    records = PeakRecords(tmp_path)
    records.note(KIND, 500, Peak(1_000, 5_000))
    records.note(KIND, 500, Peak(2_000, 1_800))
    assert records.predict(KIND, 2_000, 0)[0] == 1_800


def test_a_broken_record_is_written_anew(tmp_path: Path) -> None:
    records = PeakRecords(tmp_path)
    records.note(KIND, 500, Peak(1_000, 1_500))
    (path,) = tmp_path.rglob("*.json")
    path.write_text("{")
    assert records.predict(KIND, 1_000, 0)[0] == 1_000
    records.note(KIND, 500, Peak(1_000, 1_400))
    assert records.predict(KIND, 1_000, 0)[0] == 1_400


@pytest.mark.parametrize(
    ("kind", "peak_mib", "expected"),
    [
        (HOST, 3_000, Need(4_500, 1, 1, 1_000)),  # 1.5 × the peak
        (HOST, 100, Need(3_000, 1, 1, 1_000)),  # it had reserved more than it came to use
        (HOST, 9_000, Need(10_000, 1, 1, 1_000)),  # no more than there can be
        (GPU, 2_000, Need(2_000, 1, 1, 3_000)),
        (GPU, 7_000, Need(2_000, 1, 1, 8_000)),
    ],
)
def test_after_running_out_of_memory_1_5_times_the_peak_is_asked_for(
    kind: str, peak_mib: float, expected: Need
) -> None:
    assert after_out_of_memory(Need(2_000, 1, 1, 1_000), kind, peak_mib, DEVICES) == expected


def test_who_had_the_largest_budget_is_not_repeated() -> None:
    assert after_out_of_memory(Need(10_000, 1), HOST, 9_900, DEVICES) is None
    assert after_out_of_memory(Need(100, 1, 1, 8_000), GPU, 8_400, DEVICES) is None
