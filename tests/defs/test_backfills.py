"""Backfills, one partition, versions and automation, through a real webserver and daemon."""

from typing import Any

import pytest

from nsl_assets.study import storage_root
from nsl_resources.results import Results

from .conftest import Server, wait_until

pytestmark = pytest.mark.slow

GRID = ("trained", "embedding", "mutual_information")


def grid(study: str) -> list[list[str]]:
    return [[study, "simulated", "random_projection", asset] for asset in GRID]


def finish(server: Server, *backfills: str) -> None:
    """Wait until the backfills are done, all with success."""
    for backfill in backfills:
        wait_until(lambda one=backfill: server.backfill_status(one).startswith("COMPLETED"), f"backfill {backfill}")
        assert server.backfill_status(backfill) == "COMPLETED_SUCCESS"


def one_run(server: Server, assets: list[list[str]], partition: str | None = None) -> None:
    """Launch one run through GraphQL, as the button in the UI does, and wait for its success."""
    launch(server, assets, {} if partition is None else {"dagster/partition": partition})


def launch(server: Server, assets: list[list[str]], tags: dict[str, str]) -> None:
    """Launch one run with these tags, and wait for its success."""
    run_id = server.launch(assets, tags)
    wait_until(lambda: server.instance.get_run_by_id(run_id).is_finished, f"the end of run {run_id}")
    assert server.instance.get_run_by_id(run_id).is_success


def test_backfills_record_exactly_what_was_asked_for(server: Server):
    noised = ["wide", "simulated", "noised"]
    one_run(server, [["wide", "simulated", "source"]])
    one_run(server, [["deep", "simulated", "source"]])

    # One noise level, everything below it: the grid follows by its noise dimension.
    backfill = server.backfill([noised, *grid("wide")], ["q0.200000"])
    # The other study has another grid; both at once.
    other = server.backfill([["deep", "simulated", "noised"]], ["q0.100000", "q0.400000", "q1.000000"])
    finish(server, backfill, other)
    first = {"n000000100|q0.200000", "n000000200|q0.200000"}
    for path in grid("wide"):
        assert server.materialized(*path) == first
    assert server.materialized("deep", "simulated", "noised") == {"q0.100000", "q0.400000", "q1.000000"}
    assert server.materialized(*grid("deep")[2]) == set()

    # A ragged selection: two cells of the grid that span no rectangle, over two noise levels.
    one_run(server, [noised], "q0.500000")
    one_run(server, [noised], "q1.000000")
    ragged = ["n000000100|q1.000000", "n000000200|q0.500000"]
    finish(server, server.backfill(grid("wide"), ragged))
    assert server.materialized(*grid("wide")[2]) == first | set(ragged)
    n_workers = len(Results(storage_root()).query("select * from run where study = 'wide'"))
    assert n_workers == 4

    # The rest, by asking for everything: what is stored is not computed again.
    everything = [f"n{n:09d}|q{q:.6f}" for n in (100, 200) for q in (1.0, 0.5, 0.2)]
    finish(server, server.backfill(grid("wide"), everything))
    assert server.materialized(*grid("wide")[2]) == set(everything)
    assert len(Results(storage_root()).query("select * from run where study = 'wide'")) == 6

    # Laws are fitted by themselves, and what was just made is fresh.
    law = ["wide", "simulated", "random_projection", "noise_law"]
    wait_until(lambda: server.materialized(*law) == {"n000000100", "n000000200"}, "the noise laws")
    for path in (noised, *grid("wide")):
        partition = "q0.200000" if path == noised else "n000000100|q0.200000"
        assert server.stale_status(path, partition) == "FRESH", path


def test_one_partition_of_the_grid_through_graphql(server: Server):
    one_run(server, [["deep", "simulated", "source"]])
    one_run(server, [["deep", "simulated", "noised"]], "q0.400000")
    one_run(server, grid("deep"), "n000000150|q0.400000")
    assert server.materialized(*grid("deep")[2]) == {"n000000150|q0.400000"}
    rows = Results(storage_root()).query("select * from measurement where study = 'deep'")
    assert {row["seed"] for row in rows} == {0, 1}


def check_states(server: Server, *paths: list[str]) -> dict[str, str]:
    """State of the latest execution of every check of some assets, as the UI shows it."""
    text = """query($path: [String!]!) { assetNodeOrError(assetKey: {path: $path}) { ... on AssetNode {
    assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { status } } } } } } }"""
    states = {}
    for path in paths:
        checks = server.query(text, path=path)["assetNodeOrError"]["assetChecksOrError"]["checks"]
        for check in checks:
            execution = check["executionForLatestMaterialization"]
            states[f"{path[-1]}/{check['name']}"] = execution["status"] if execution else "NOT_EXECUTED"
    return states


def test_checks_that_a_run_planned_and_skipped_are_evaluated_by_themselves(server: Server):
    measured = [["deep", "simulated", "noised"], *grid("deep")]
    one_run(server, [["deep", "simulated", "source"]])
    finish(server, server.backfill([["deep", "simulated", "noised"], *grid("deep")], ["q0.400000", "q1.000000"]))
    done = {"SUCCEEDED", "FAILED"}
    wait_until(lambda: set(check_states(server, *measured).values()) <= done, "all checks of the backfill")
    # One run as a click in the UI launches it, checks and all: its own check steps have nothing to check yet.
    one_run(server, grid("deep"), "n000000150|q0.400000")
    wait_until(lambda: set(check_states(server, *measured).values()) <= done, "all checks of the run")
    states = check_states(server, ["deep", "simulated", "source"], *measured)
    assert states["source/no_leakage"] == states["noised/realised_depth"] == "SUCCEEDED"
    assert set(states.values()) <= done, states


def test_a_dry_run_of_a_night_says_what_it_would_do_and_its_runs_do_it(server: Server):
    selector = {"repositoryName": "__repository__", "repositoryLocationName": "nsl", "scheduleName": "night_deep"}
    text = """mutation($selector: ScheduleSelector!, $at: Float) {
    scheduleDryRun(selectorData: $selector, timestamp: $at) { __typename
    ... on DryRunInstigationTick { evaluationResult { skipReason error { message }
    runRequests { assetSelection { path } tags { key value } } } } } }"""

    def dry_run() -> Any:
        return server.query(text, selector=selector, at=1_893_528_000.0)["scheduleDryRun"]["evaluationResult"]

    assert "deep/simulated/source" in dry_run()["skipReason"]
    one_run(server, [["deep", "simulated", "source"]])
    deepest, *others = dry_run()["runRequests"]
    assert len(others) == 2
    said = {tag["key"]: tag["value"] for tag in deepest["tags"]}
    assert said["nsl/plan"].startswith("3 of 3 missing partitions, 6 cells of the grid")
    assert server.materialized(*grid("deep")[2]) == set()

    # Exactly what the scheduler would launch: the level is thinned and recorded in the same run.
    launch(server, [asset["path"] for asset in deepest["assetSelection"]], said)
    assert server.materialized("deep", "simulated", "noised") == {"q1.000000"}
    assert server.materialized(*grid("deep")[2]) == {"n000000150|q1.000000"}
    assert len(dry_run()["runRequests"]) == 2
