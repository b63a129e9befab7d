"""The task that options of the command line describe: `--task clonal --clone obs:clone …`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nsl_assets.errors import StudyError
from nsl_assets.study import task_file

AUXILIARY: Final = ("auxiliary", "group", "unknown")
PAIRED: Final = ("paired_auxiliary", "reference_components")
ALWAYS: Final = ("layer", "total_umis", "probe_fraction", "sha256")


@dataclass(frozen=True)
class TaskOption:
    """A value of `--task`: the kind of settings it stands for, what they are beside the options, and its options."""

    kind: str
    fixed: Mapping[str, Any]
    needs: tuple[str, ...]
    takes: tuple[str, ...]

    @property
    def options(self) -> tuple[str, ...]:
        """All options that say something about this task."""
        return (*self.needs, *self.takes, *ALWAYS)


TASKS: Final[Mapping[str, TaskOption]] = {
    "protein": TaskOption("h5ad", {"auxiliary_kind": "continuous"}, ("auxiliary",), AUXILIARY),
    "numeric": TaskOption("h5ad", {"auxiliary_kind": "continuous"}, ("auxiliary",), AUXILIARY),
    "cell_type": TaskOption("h5ad", {"auxiliary_kind": "categorical"}, ("auxiliary",), AUXILIARY),
    "time": TaskOption("h5ad", {"auxiliary_kind": "ordered"}, ("auxiliary", "stages"), AUXILIARY),
    "clonal": TaskOption("clonal_pairs", {}, ("clone", "time", "early", "late"), PAIRED),
    "spatial": TaskOption("spatial_pairs", {}, (), ("coordinates", "section", "neighbours", "blocks", *PAIRED)),
}
"""Kinds of tasks by name. Without `--task`, the auxiliary decides whether it is classes or numbers."""
PLAIN: Final = TaskOption("h5ad", {}, ("auxiliary",), AUXILIARY)
FIELD_OF: Final = {
    "unknown": "unknown_labels",
    "neighbours": "n_neighbours",
    "blocks": "n_blocks",
    "reference_components": "n_reference_components",
}
"""Where a setting is named otherwise than its option."""


@dataclass(frozen=True, kw_only=True)
class FileTaskOptions:
    """Options that describe one task of a file. None: not given."""

    task: str | None = None
    layer: str | None = None
    group: str | None = None
    stages: Sequence[str] | None = None
    unknown: Sequence[str] | None = None
    clone: str | None = None
    time: str | None = None
    early: Sequence[str] | None = None
    late: Sequence[str] | None = None
    coordinates: str | None = None
    section: str | None = None
    neighbours: int | None = None
    blocks: int | None = None
    paired_auxiliary: str | None = None
    reference_components: int | None = None
    total_umis: str | None = None
    probe_fraction: float | None = None
    sha256: str | None = None

    def content(self, file: Path, auxiliary: str | None) -> dict[str, Any]:
        """The task as a study file has it. StudyError for an option that is missing or is about another task."""
        task = PLAIN if self.task is None else TASKS[self.task]
        given = {name: value for name, value in {**vars(self), "auxiliary": auxiliary}.items() if value is not None}
        given.pop("task", None)
        given.pop("total_umis", None)
        self._require(task, given)
        content = {FIELD_OF.get(name, name): _plain(given[name]) for name in task.options if name in given}
        if self.total_umis is not None:
            content["total_umis"] = _number_or_text(self.total_umis)
        return {"kind": task.kind, "path": str(task_file(file, Path.cwd()).resolve()), **task.fixed, **content}

    def about(self, auxiliary: str | None) -> str:
        """What the task is about, for people."""
        if self.task == "clonal":
            return f"what an early cell says of a late one of its clone ({self.clone})"
        if self.task == "spatial":
            return "what a cell says of its neighbour"
        return f"about {auxiliary}"

    def signal(self, auxiliary: str | None) -> str:
        """What the task is about, in few words."""
        if self.task == "clonal":
            return f"{_key(self.clone)} partner"
        if self.task == "spatial":
            return "neighbour"
        return f"{'time ' * (self.task == 'time')}{_key(auxiliary)}"

    def _require(self, task: TaskOption, given: Mapping[str, Any]) -> None:
        called = f"--task {self.task}" if self.task else "a task without --task"
        absent = [name for name in task.needs if name not in given]
        if absent:
            raise StudyError(f"{called} needs {_options(absent)}; see nsl run --help.")
        foreign = [name for name in given if name not in task.options]
        if foreign:
            kinds = [name for name, other in TASKS.items() if foreign[0] in other.options]
            raise StudyError(
                f"{_options(foreign[:1])} says nothing about {called}: it is for --task {' or '.join(kinds)}."
            )


def _options(names: Sequence[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def _key(address: str | None) -> str:
    return (address or "").partition(":")[2]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _number_or_text(value: str) -> str | float:
    try:
        return float(value)
    except ValueError:
        return value
