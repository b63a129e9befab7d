"""The asset graph: every study its own group, every asset described, partitions of the study."""

from pathlib import Path

import dagster as dg

from nsl_assets.defs import keys
from nsl_assets.defs.build import build_definitions
from nsl_assets.study import load_project


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


def test_only_laws_results_and_reports_run_by_themselves(project: Path):
    specs = build_definitions(load_project()).resolve_all_asset_specs()
    automated = {spec.key.path[-1] for spec in specs if spec.automation_condition is not None}
    assert automated == {"noise_law", "report", "results"}


def test_partition_keys_sort_as_numbers_and_come_back():
    sizes = [9, 10, 100, 12_000_000]
    assert sorted(map(keys.size_key, reversed(sizes))) == [keys.size_key(n) for n in sizes]
    assert [keys.size_of(keys.size_key(n)) for n in sizes] == sizes
    assert keys.grid_point(keys.grid_key(3_600, 0.0125)) == (3_600, 0.0125)
