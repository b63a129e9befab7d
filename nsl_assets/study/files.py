"""Study files: `dagster_project.toml` and the studies saved under `storage/studies/`. Their only reader and writer.

A mistake in a file becomes an error that names the file, the field, the value and what is allowed.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import tomlkit
from pydantic import ValidationError

from nsl_assets.datasets import is_address, place_of_address
from nsl_assets.errors import InputError, StudyError
from nsl_assets.study.rendering import render_study
from nsl_assets.study.types import Project, SettingsT, Study
from nsl_assets.tasks import TaskSettings
from nsl_resources.artifacts import atomic_write_text

PROJECT_FILE = "dagster_project.toml"


def project_root() -> Path:
    """The folder of `dagster_project.toml`: NSL_PROJECT, the nearest above the working folder, or nsl's own."""
    if root := os.environ.get("NSL_PROJECT"):
        return Path(root).resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / PROJECT_FILE).is_file():
            return folder
    return Path(__file__).resolve().parents[1]


def storage_root() -> Path:
    """Where results, artifacts and the Dagster instance live: NSL_STORAGE, or `storage/` of the project."""
    return Path(os.environ.get("NSL_STORAGE") or project_root() / "storage").expanduser().resolve()


def data_root() -> Path:
    """Where public data sets lie: NSL_DATA, or `data/` of the storage folder."""
    return Path(os.environ.get("NSL_DATA") or storage_root() / "data").expanduser().resolve()


def load_project(root: Path | None = None, storage: Path | None = None) -> Project:
    """Read `dagster_project.toml` and the studies saved under `storage/studies/`.

    Raises
    ------
    StudyError
        A file cannot be read, is not TOML, has a mistake, or two files name the same study.
    """
    root, storage = root or project_root(), storage or storage_root()
    merged: dict[str, Any] = {"studies": {}}
    origin: dict[str, Path] = {}
    saved = sorted((storage / "studies").glob("*.toml")) if storage.is_dir() else []
    for path in [root / PROJECT_FILE, *saved]:
        content = read_project_file(path)
        studies = content.pop("studies", {})
        for name, study in studies.items() if isinstance(studies, dict) else ():
            if name in origin:
                raise StudyError(f"study '{name}' is in {origin[name]} and in {path}: rename or remove one.")
            origin[name] = path
            merged["studies"][name] = _with_absolute_paths(study, path.parent, f"{path}: studies.{name}")
        merged |= content if path.name == PROJECT_FILE else {}
        if not isinstance(studies, dict):
            raise StudyError(f"{path}: studies: found {studies!r}: tables [studies.NAME] are expected.")
    return parse_project(merged, origin)


def parse_project(content: Mapping[str, Any], origin: Mapping[str, Path] | None = None) -> Project:
    """Type a project; the error of a mistake names field, value and what is allowed."""
    try:
        return Project.model_validate(content)
    except ValidationError as error:
        raise StudyError(explain(error, origin or {})) from None


def parse_study(name: str, content: Mapping[str, Any], folder: Path) -> Study:
    """Type one study as if it stood in a file of this folder."""
    return parse_project({"studies": {name: _with_absolute_paths(content, folder, name)}}).study(name)


def parse_settings(kind: type[SettingsT], content: Mapping[str, Any]) -> SettingsT:
    """Type the settings of one room; the error of a mistake names field, value and what is allowed."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise StudyError(explain(error, {})) from None


def parse_task(content: Mapping[str, Any]) -> TaskSettings:
    """Type the settings of a task of the kind that it names; the error of a mistake is that of `parse_settings`."""
    kinds = {kind.model_fields["kind"].default: kind for kind in get_args(get_args(TaskSettings)[0])}
    task: TaskSettings = parse_settings(kinds[content["kind"]], content)
    return task


def save_study(name: str, content: Mapping[str, Any], storage: Path, *, header: str = "") -> Path:
    """Write a derived study as `storage/studies/NAME.toml`, commented, after checking it; returns the path."""
    study = parse_project({"studies": {name: content}}).study(name)
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    path = storage / "studies" / f"{name}.toml"
    atomic_write_text(path, f"{comment}\n{render_study(name, study)}")
    return path


def definition_text(study: Study) -> str:
    """The study as TOML, with every default written out: stored beside the results."""
    return tomlkit.dumps(_plain(study.model_dump(mode="json", exclude_none=True)))


def explain(error: ValidationError, origin: Mapping[str, Path]) -> str:
    """One line a mistake: file, field, what was found, what is allowed."""
    lines = []
    for mistake in error.errors(include_url=False):
        place = [str(part) for part in mistake["loc"]]
        file = origin.get(place[1]) if len(place) > 1 and place[0] == "studies" else None
        found = "" if isinstance(mistake["input"], dict) else f" found {mistake['input']!r}:"
        allowed = mistake["msg"].removeprefix("Value error, ").rstrip(".")
        where = f"{file}: " if file else f"{PROJECT_FILE}: " if origin else ""
        lines.append(f"{where}{'.'.join(place) or 'the file'}:{found} {allowed}.")
    return "\n".join(lines)


def read_project_file(path: Path) -> dict[str, Any]:
    """The tables of one study file. StudyError where it is missing or is not TOML."""
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise StudyError(
            f"there is no {path}. Run `nsl init`, or set NSL_PROJECT to the folder of {PROJECT_FILE}."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is not TOML: {error}.") from None


def task_file(path: str | Path, folder: Path) -> Path:
    """The file of a task: `data:NAME` is a public data set, a relative path is one against the folder.

    Raises InputError for a public data set that there is not.
    """
    if is_address(str(path)):
        return place_of_address(str(path), data_root()).path
    return folder / Path(path).expanduser()


def _with_absolute_paths(study: Any, folder: Path, where: str) -> Any:
    """Resolve the paths of tasks and models against the folder of the file that names them."""
    if not isinstance(study, dict):
        return study
    resolved = dict(study)
    if isinstance(tasks := study.get("tasks"), dict):
        resolved["tasks"] = {name: _absolute_task(one, folder, f"{where}.tasks.{name}") for name, one in tasks.items()}
    if isinstance(models := study.get("models"), dict):
        resolved["models"] = {name: _absolute_model(one, folder) for name, one in models.items()}
    return resolved


def _absolute_task(task: Any, folder: Path, where: str) -> Any:
    if not (isinstance(task, dict) and isinstance(task.get("path"), str)):
        return task
    try:
        return {**task, "path": str(task_file(task["path"], folder))}
    except InputError as error:
        raise StudyError(f"{where}.path: found {task['path']!r}: {error}") from None


def _absolute_model(model: Any, folder: Path) -> Any:
    if not isinstance(model, dict):
        return model
    resolved = dict(model)
    if ".py:" in str(model.get("class_path", "")):
        resolved["class_path"] = _absolute(model["class_path"], folder)
    if isinstance(checkpoint := model.get("checkpoint"), str):
        resolved["checkpoint"] = _absolute(checkpoint, folder)
    if isinstance(files := model.get("files"), dict):
        resolved["files"] = {level: _absolute(str(path), folder) for level, path in files.items()}
    return resolved


def _absolute(path: str, folder: Path) -> str:
    return str(folder / Path(path).expanduser())


def _plain(value: Any) -> Any:
    """JSON-like values that TOML can hold: no None, no tuples."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
