"""Fresh and stale, as Dagster's own resolver (which the UI asks) reads our version tags."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from nsl_assets import noise, probing
from nsl_assets.cli.execution import execute_study
from nsl_assets.cli.instance import init_instance
from nsl_assets.defs.build import build_definitions
from nsl_assets.progress import Progress
from nsl_assets.study import load_project, storage_root
from nsl_resources.results import Results

GRID = ("trained", "embedding", "mutual_information")


@pytest.fixture
def ran(project: Path) -> Iterator[dg.DagsterInstance]:
    """An instance on which the study `deep` ran."""
    init_instance()
    assert execute_study("deep", load_project(), Progress()) == []
    with dg.DagsterInstance.get() as instance:
        yield instance


def statuses(instance: dg.DagsterInstance) -> dict[str, str]:
    graph = build_definitions(load_project()).resolve_asset_graph()
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    model = ["deep", "simulated", "random_projection"]
    partitions = {("deep", "simulated", "source"): None, ("deep", "simulated", "noised"): "q0.400000"}
    partitions |= {(*model, asset): "n000000150|q0.400000" for asset in GRID}
    partitions |= {(*model, "noise_law"): "n000000150"}
    return {path[-1]: resolver.get_status(dg.AssetKey(path), partition).value for path, partition in partitions.items()}


def test_what_ran_is_fresh_and_a_new_code_version_makes_its_room_stale(
    ran: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    assert set(statuses(ran).values()) == {"FRESH"}

    monkeypatch.setattr(probing, "CODE_VERSION", "changed")
    stale = statuses(ran)
    assert stale["mutual_information"] == "STALE"
    assert stale["trained"] == stale["embedding"] == stale["noised"] == "FRESH"

    monkeypatch.setattr(noise, "CODE_VERSION", "changed")
    assert statuses(ran)["noised"] == "STALE"


def test_running_again_computes_nothing_and_everything_stays_fresh(ran: dg.DagsterInstance):
    results = Results(storage_root())
    before = results.row_counts()
    assert execute_study("deep", load_project(), Progress()) == []
    results.publish()
    assert results.row_counts() == before
    assert set(statuses(ran).values()) == {"FRESH"}


def test_a_change_in_probing_retrains_nothing(ran: dg.DagsterInstance, project: Path):
    file = project / "dagster_project.toml"
    file.write_text(file.read_text().replace("max_steps_few_pairs = 10", "max_steps_few_pairs = 11"))
    models = sorted((storage_root() / "artifacts" / "model").iterdir())
    changed = statuses(ran)
    assert changed["mutual_information"] == "STALE"
    assert changed["trained"] == changed["embedding"] == "FRESH"
    assert execute_study("deep", load_project(), Progress()) == []
    assert sorted((storage_root() / "artifacts" / "model").iterdir()) == models
    values = Results(storage_root()).query("select measurement_hash, mi_bits from measurement where study = 'deep'")
    assert len(values) == len({row["measurement_hash"] for row in values}) == 3 * 2
    # The laws follow: they are of the new measurements, and nothing downstream is stale.
    assert set(statuses(ran).values()) == {"FRESH"}


def test_probing_at_another_level_retrains_nothing_and_is_seen_in_the_ui(ran: dg.DagsterInstance, project: Path):
    file = project / "dagster_project.toml"
    file.write_text(file.read_text().replace("[studies.deep]\n", "[studies.deep]\nprobe_levels = [0.1]\n"))
    models = sorted((storage_root() / "artifacts" / "model").iterdir())
    changed = statuses(ran)
    assert changed["mutual_information"] == changed["embedding"] == "STALE"
    assert changed["trained"] == changed["noised"] == "FRESH"
    assert execute_study("deep", load_project(), Progress()) == []
    assert sorted((storage_root() / "artifacts" / "model").iterdir()) == models
    assert set(statuses(ran).values()) == {"FRESH"}
    key = dg.AssetKey(["deep", "simulated", "random_projection", "mutual_information"])
    records = ran.fetch_materializations(dg.AssetRecordsFilter(key, asset_partitions=["n000000150|q0.400000"]), limit=1)
    metadata = records.records[0].asset_materialization.metadata
    assert "probed at level" in metadata["probed_at_other_levels"].value
    (row,) = Results(storage_root()).query(
        "select avg(mi_bits) as bits, count(*) as n from cross_noise_measurement where train_level = 0.4"
    )
    assert row["n"] == 2
    assert f"{row['bits']:.4g}" in metadata["probed_at_other_levels"].value
