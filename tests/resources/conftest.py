"""Shared by the tests of dispatch: jobs that run a piece of Python, in a fresh interpreter or forked."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nsl_resources.dispatch import WorkerJob

MakeJob = Callable[..., WorkerJob]


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A folder of modules that workers can import; `run_code` runs its first argument."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "run_code.py").write_text("import sys\nexec(sys.argv[1])\n")
    return folder


@pytest.fixture
def job_of(modules: Path) -> MakeJob:
    """Makes a job that runs Python code; `preload=()` for a fresh interpreter."""

    def make(label: str, code: str, memory_mib: int = 100, **more: object) -> WorkerJob:
        env = {"PYTHONPATH": str(modules), **more.pop("env", {})}  # type: ignore[dict-item]
        return WorkerJob(label, (sys.executable, "-P", "-m", "run_code", code), memory_mib, env=env, **more)  # type: ignore[arg-type]

    return make


@pytest.fixture(params=[(), ("json",)], ids=["fresh", "forked"])
def preload(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """What workers preload: nothing, so that they are fresh interpreters; or something, so that they are forked."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def python_job(job_of: MakeJob, preload: tuple[str, ...]) -> MakeJob:
    """Makes a job that runs Python code, in the tests that use it once in each way."""

    def make(label: str, code: str, memory_mib: int = 100, **more: object) -> WorkerJob:
        return job_of(label, code, memory_mib, preload=preload, **more)

    return make
