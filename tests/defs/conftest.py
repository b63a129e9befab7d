"""A project with two small studies of different grids, and a running Dagster that serves it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

STUDY = """
[studies.{name}]
sizes = {sizes}
n_seeds = {n_seeds}
untrained_baseline = "none"
[studies.{name}.tasks.simulated]
kind = "simulated_cells"
n_cells = 400
n_genes = 40
[studies.{name}.models.random_projection]
kind = "random_projection"
[studies.{name}.noise]
kind = "binomial_thinning"
levels = {levels}
[studies.{name}.probing]
estimators = ["infonce"]
[studies.{name}.probing.infonce]
max_steps = {steps}
max_steps_few_pairs = {steps}
n_folds_few_pairs = 2
"""


def study_toml(name: str, *, sizes: list[int], levels: list[float], n_seeds: int = 1, steps: int = 10) -> str:
    return STUDY.format(name=name, sizes=sizes, levels=levels, n_seeds=n_seeds, steps=steps)


@pytest.fixture
def project(tmp_path: Path, storage: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a project file with two studies of different grids; the environment names it."""
    (tmp_path / "dagster_project.toml").write_text(
        study_toml("wide", sizes=[100, 200], levels=[1.0, 0.5, 0.2])
        + study_toml("deep", sizes=[150], levels=[1.0, 0.4, 0.1], n_seeds=2)
    )
    monkeypatch.setenv("NSL_PROJECT", str(tmp_path))
    return tmp_path


@dataclass
class Server:
    """`dagster dev` on the loopback, and the instance that it works on."""

    url: str
    instance: dg.DagsterInstance

    def query(self, text: str, **variables: Any) -> Any:
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]

    def backfill(self, assets: list[list[str]], partitions: list[str]) -> str:
        answer = self.query(
            """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
            __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
            params={"assetSelection": [{"path": path} for path in assets], "partitionNames": partitions},
        )["launchPartitionBackfill"]
        assert "backfillId" in answer, answer
        return str(answer["backfillId"])

    def launch(self, assets: list[list[str]], tags: Mapping[str, str]) -> str:
        """Launch one run with these tags, as the button in the UI does; its id."""
        selector = {"repositoryName": "__repository__", "repositoryLocationName": "nsl", "pipelineName": "__ASSET_JOB"}
        answer = self.query(
            """mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) { __typename
            ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
            params={
                "selector": {**selector, "assetSelection": [{"path": path} for path in assets]},
                "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
            },
        )["launchPipelineExecution"]
        assert "run" in answer, answer
        return str(answer["run"]["runId"])

    def backfill_status(self, backfill_id: str) -> str:
        text = (
            "query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"
        )
        return str(self.query(text, id=backfill_id)["partitionBackfillOrError"]["status"])

    def materialized(self, *path: str) -> set[str]:
        return set(self.instance.get_materialized_partitions(dg.AssetKey(path)))

    def stale_status(self, path: list[str], partition: str) -> str:
        text = """query($path: [String!]!, $partition: String) { assetNodeOrError(assetKey: {path: $path}) {
        ... on AssetNode { staleStatus(partition: $partition) staleCauses(partition: $partition) { reason } } } }"""
        return str(self.query(text, path=path, partition=partition)["assetNodeOrError"]["staleStatus"])


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 300) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout_s} s"
        time.sleep(1)


@pytest.fixture
def server(project: Path, storage: Path) -> Iterator[Server]:
    """A running webserver and daemon for the project."""
    from nsl_assets.cli.instance import init_instance

    init_instance()
    workspace = Path(__file__).resolve().parents[2] / "workspace.yaml"
    port = free_port()
    log = (storage / "dagster-dev.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "dagster", "dev", "--workspace", str(workspace), "--host", "127.0.0.1",
         "--port", str(port)],
        stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        with dg.DagsterInstance.get() as instance:
            running = Server(f"http://127.0.0.1:{port}", instance)
            wait_until(lambda: _answers(running, process), "an answer of the webserver", timeout_s=120)
            yield running
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        log.close()


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(server: Server, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, f"dagster dev ended with {process.returncode}: see its log"
    try:
        return bool(server.query("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"))
    except OSError:
        return False
