"""`nsl export` and `nsl import`: a study with its results as a folder that needs no artifacts.

FOLDER/manifest.json      versions, and every other file with its number of rows, size and digest
FOLDER/study.toml         the definition, with every default written out
FOLDER/<table>.parquet    the rows of one results table
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomlkit

from nsl_assets.cli.output import show, show_json, table
from nsl_assets.errors import InputError, StorageError, StudyError
from nsl_assets.identity import calibration_hash
from nsl_assets.study import Project, Study, definition_text, load_project, parse_project, save_study, storage_root
from nsl_resources.artifacts import atomic_write_bytes, atomic_write_text
from nsl_resources.results import SCHEMA_VERSION, Results, TableFile, file_digest

FORMAT = 1
MANIFEST, DEFINITION = "manifest.json", "study.toml"
HEADER = "Imported by nsl import."


@dataclass(frozen=True)
class Exported:
    """What a folder says that it holds."""

    folder: Path
    study: str
    schema_version: int
    definition_blake2b: str
    tables: tuple[TableFile, ...]


def export_study(name: str, folder: Path, *, as_json: bool) -> None:
    """Write a study into a new folder. InputError where the folder holds something, or nothing was measured."""
    study, results = load_project().study(name), Results(storage_root())
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not an empty folder: name a new one, so that nothing of two exports is mixed.")
    if not _n_measurements(name, results):
        raise InputError(f"study '{name}' has no measurements yet. Run it: nsl run {name}")
    calibrations = [calibration_hash(study.probing, estimator) for estimator in study.probing.estimators]
    tables = results.export_study(name, calibrations, folder)
    definition = tomlkit.dumps({"studies": {name: tomllib.loads(definition_text(study))}}).encode()
    atomic_write_bytes(folder / DEFINITION, definition)
    manifest = {
        "format": FORMAT,
        "study": name,
        "schema_version": SCHEMA_VERSION,
        "nsl_version": version("nsl"),
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "definition": {"file": DEFINITION, "size_bytes": len(definition), "blake2b": file_digest(definition)},
        "tables": [asdict(one) for one in tables],
    }
    # Last, so that a folder with a manifest is whole.
    atomic_write_text(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    _show(name, folder, tuple(tables), "exported to", as_json=as_json)


def import_study(folder: Path, name: str | None, *, as_json: bool) -> None:
    """Read an exported study into the storage, under its own name or another.

    Everything is checked before anything lands.

    Raises
    ------
    InputError
        The folder holds no export, or another study has the name.
    StorageError
        A file is damaged or missing, or comes from a newer version of nsl.
    """
    exported = _read_manifest(folder)
    name = name or exported.study
    study = _read_definition(exported, name)
    project, results = load_project(), Results(storage_root())
    _require_free_name(name, study, project, results)
    results.import_study(name, folder, exported.tables)
    if name not in project.studies:
        save_study(name, tomllib.loads(definition_text(study)), storage_root(), header=HEADER)
    _show(name, folder, exported.tables, "imported from", as_json=as_json)


def _show(name: str, folder: Path, tables: tuple[TableFile, ...], how: str, *, as_json: bool) -> None:
    if as_json:
        show_json({"study": name, "folder": str(folder), "rows": {one.table: one.n_rows for one in tables}})
        return
    show(table([{"table": one.table, "rows": one.n_rows} for one in tables]))
    show(f"study {name}: {how} {folder}")


def _read_manifest(folder: Path) -> Exported:
    path = folder / MANIFEST
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        exported = Exported(
            folder,
            content["study"],
            content["schema_version"],
            content["definition"]["blake2b"],
            tuple(TableFile(**one) for one in content["tables"]),
        )
    except FileNotFoundError:
        raise InputError(f"{folder} holds no {MANIFEST}: a folder is needed that `nsl export` has finished.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} is damaged ({error!r}). Nothing was imported. Export the study again.") from error
    if content.get("format") != FORMAT or exported.schema_version > SCHEMA_VERSION:
        raise StorageError(
            f"{folder} was exported by nsl {content.get('nsl_version', '?')} with format {content.get('format')} and"
            f" results schema {exported.schema_version}; this nsl knows format {FORMAT} and schema {SCHEMA_VERSION}."
            " Upgrade nsl here. Nothing was imported."
        )
    return exported


def _read_definition(exported: Exported, name: str) -> Study:
    path = exported.folder / DEFINITION
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}. Nothing was imported.") from error
    if file_digest(content) != exported.definition_blake2b:
        raise StorageError(f"{path} is not the file that was exported. Nothing was imported. Copy or export it again.")
    try:
        definition = tomllib.loads(content.decode())["studies"][exported.study]
        return parse_project({"studies": {name: definition}}).study(name)
    except StudyError as error:
        raise StorageError(
            f"{path} comes from another version of nsl, and this one does not understand it. Nothing was imported."
            f" Export it with this version, or edit the file and `definition` in {MANIFEST}.\n{error}"
        ) from error


def _require_free_name(name: str, study: Study, project: Project, results: Results) -> None:
    """InputError where a study of this name is here that asks for something else."""
    here = _comparable(project.studies[name]) if name in project.studies else _registered(name, results)
    if here is None:
        return
    imported = _comparable(study)
    differing = sorted(field for field in imported.keys() | here.keys() if imported.get(field) != here.get(field))
    if differing:
        raise InputError(
            f"study '{name}' is in this storage already and differs in {', '.join(differing)}. Nothing was imported."
            f" Import it under another name: nsl import FOLDER --name {name}_imported"
        )


def _n_measurements(name: str, results: Results) -> int:
    results.publish()
    with results.connect() as database:
        found = database.execute("SELECT count(*) FROM measurement WHERE study = ?", [name]).fetchone()
    return int(found[0]) if found else 0


def _registered(name: str, results: Results) -> Mapping[str, Any] | None:
    """The definition of a study that is not known any more, but has rows; None where there is none."""
    if not _n_measurements(name, results):
        return None
    with results.connect() as database:
        found = database.execute("SELECT definition FROM study WHERE study = ?", [name]).fetchone()
    return _comparable(parse_project({"studies": {name: tomllib.loads(found[0])}}).study(name)) if found else None


def _comparable(study: Study) -> Mapping[str, Any]:
    """A definition without what differs between machines: where files are."""
    content = study.model_dump(mode="json")
    for task in content["tasks"].values():
        task.pop("path", None)
    return content
