"""The asset graph: every study its own group, every asset described, partitions of the study."""

from pathlib import Path

import dagster as dg

from nsl_assets.defs import keys
from nsl_assets.defs.build import build_definitions
from nsl_assets.study import load_project

from .conftest import study_toml


def test_two_studies_with_different_grids_stand_side_by_side(project: Path):
    graph = build_definitions(load_project()).resolve_asset_graph()
    wide = graph.get(dg.AssetKey(["wide", "simulated", "random_projection", "mutual_information"]))
    deep = graph.get(dg.AssetKey(["deep", "simulated", "random_projection", "mutual_information"]))
    assert len(wide.partitions_def.get_partition_keys()) == 2 * 3
    assert len(deep.partitions_def.get_partition_keys()) == 3
    assert {wide.group_name, deep.group_name} == {"wide", "deep"}


def test_every_asset_is_described_versioned_and_has_a_kind(project: Path):
    definitions = build_definitions(load_project())
    for spec in definitions.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.kinds, spec.key
        assert spec.code_version, spec.key


def test_only_what_follows_from_measurements_runs_by_itself(project: Path):
    definitions = build_definitions(load_project())
    specs = definitions.resolve_all_asset_specs()
    automated = {spec.key.path[-1] for spec in specs if spec.automation_condition is not None}
    assert automated == {"noise_law", "joint_law", "advice", "report", "results"}


def test_laws_are_there_where_the_grid_is_large_enough_for_them(project: Path):
    two_models = study_toml("large", sizes=[60, 90, 120, 150], levels=[1.0, 0.5, 0.2])
    two_models += '[studies.large.models.pca]\nkind = "pca"\n'
    (project / "dagster_project.toml").write_text(study_toml("deep", sizes=[150], levels=[1.0, 0.4, 0.1]) + two_models)
    graph = build_definitions(load_project()).resolve_asset_graph()
    names = {
        study: {key.path[-1] for key in graph.get_all_asset_keys() if key.path[0] == study}
        for study in ("deep", "large")
    }
    measured = {"source", "noised", "trained", "embedding", "mutual_information"}
    assert names["deep"] - measured == {"noise_law", "advice", "report"}
    assert names["large"] - measured == {
        "noise_law", "cell_number_law", "joint_law", "model_comparison", "advice", "report",
    }  # fmt: skip
    cells = graph.get(dg.AssetKey(["large", "simulated", "pca", "cell_number_law"]))
    assert set(cells.partitions_def.get_partition_keys()) == {keys.level_key(q) for q in (1.0, 0.5, 0.2)}


def test_checks_of_partitions_run_by_themselves_and_as_a_job(project: Path):
    definitions = build_definitions(load_project())
    graph = definitions.resolve_asset_graph()
    job = definitions.resolve_job_def("check_wide")
    assert job.asset_layer.asset_graph.asset_check_keys == {
        key for key in graph.asset_check_keys if key.asset_key.path[0] in {"wide", "results"}
    }
    not_automated = {key.name for key in graph.asset_check_keys if graph.get(key).automation_condition is None}
    # The source is unpartitioned: its run holds its checks. A sensor evaluates the freshness of the results.
    assert not_automated == {"counts_are_integers", "no_leakage", "is_fresh"}


def test_assets_are_found_by_study_task_and_model(project: Path):
    graph = build_definitions(load_project()).resolve_asset_graph()
    wanted = dg.AssetSelection.tag("nsl/model", "random_projection") & dg.AssetSelection.tag("nsl/study", "deep")
    found = wanted.resolve(graph)
    assert {key.path[-1] for key in found} == {"trained", "embedding", "mutual_information", "noise_law"}
    noised = graph.get(dg.AssetKey(["deep", "simulated", "noised"]))
    assert noised.tags["nsl/task"] == "simulated" and "nsl/model" not in noised.tags


def test_grids_are_in_the_pool_and_cheap_models_go_first(project: Path):
    text = study_toml("large", sizes=[60], levels=[1.0, 0.5])
    text += '[studies.large.models.geneformer]\nkind = "geneformer"\n[studies.large.models.pca]\nkind = "pca"\n'
    (project / "dagster_project.toml").write_text(text)
    definitions = build_definitions(load_project())
    job = definitions.resolve_implicit_global_asset_job_def()
    grids = [node.definition for node in job.nodes if node.name.endswith("__grid")]
    priority = {op.name.split("__")[2]: int(op.tags["dagster/priority"]) for op in grids}
    assert {op.pool for op in grids} == {"nsl_grid"}
    assert priority["geneformer"] == min(priority.values())
    assert len(set(priority.values())) == 3


def test_partition_keys_sort_as_numbers_and_come_back():
    sizes = [9, 10, 100, 12_000_000]
    assert sorted(map(keys.size_key, reversed(sizes))) == [keys.size_key(n) for n in sizes]
    assert [keys.size_of(keys.size_key(n)) for n in sizes] == sizes
    assert keys.grid_point(keys.grid_key(3_600, 0.0125)) == (3_600, 0.0125)


def test_a_kind_and_a_group_select_one_grid_whose_range_is_one_run(project: Path):
    """As `dg launch --assets 'group:large and kind:pca' --partition-range FIRST...LAST` needs it."""
    text = study_toml("large", sizes=[60, 90], levels=[1.0, 0.5]) + '[studies.large.models.pca]\nkind = "pca"\n'
    (project / "dagster_project.toml").write_text(text)
    definitions = build_definitions(load_project())
    graph = definitions.resolve_asset_graph()
    selected = dg.AssetSelection.from_coercible("group:large and kind:pca").resolve(graph)
    of_task = keys.TaskKeys("large", "simulated")
    assert selected == {of_task.of_model("pca", asset) for asset in keys.GRID_ASSETS}
    job = definitions.get_repository_def().get_implicit_job_def_for_assets(selected)
    assert job is not None
    partitioned = [graph.get(key) for key in graph.get_all_asset_keys() if graph.get(key).is_partitioned]
    assert {node.backfill_policy for node in partitioned} == {dg.BackfillPolicy.single_run()}
