"""Studies as commented TOML: every field with its docstring; what is left at its default is commented out."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from nsl_assets.settings import Settings
from nsl_assets.study.types import Project, Study

WIDTH = 108
HEADER = """\
# The studies of this project. Read by nsl_assets/study and by nothing else: it is not a file of Dagster's.
#
# Every field stands here with what it means; a field that is commented out has the value shown. At the end, commented
# out, a study of your own file with the other kinds of models. `nsl init` writes one for your data under
# storage/studies/, which is read as well. A mistake is answered with the field, the value and what is allowed.
# After a change of the fields: .venv/bin/python -m nsl_assets.study
"""
EXAMPLE: dict[str, Any] = {
    "description": "My cells: the proteins on their surface, seen by three kinds of models",
    "owners": ["team:lab"],
    "sizes": [1_000, 4_000],
    "n_seeds": 3,
    "tasks": {
        "proteins": {
            "kind": "h5ad",
            "path": "my_cells.h5ad",
            "layer": "counts",
            "auxiliary": "obsm:protein",
            "group": "donor",
        },
        "time": {
            "kind": "h5ad",
            "path": "my_embryos.h5ad",
            "auxiliary": "obs:stage",
            "auxiliary_kind": "ordered",
            "stages": ["E8.5", "E9.0", "E9.5"],
            "group": "embryo",
        },
        "clones": {
            "kind": "clonal_pairs",
            "path": "my_clones.h5ad",
            "clone": "obs:clone",
            "time": "obs:day",
            "early": ["2", "4"],
            "late": ["6"],
        },
        "neighbours": {"kind": "spatial_pairs", "path": "my_tissue.h5ad", "coordinates": "obsm:spatial"},
    },
    "models": {
        "random_projection": {"kind": "random_projection"},
        "made_elsewhere": {"kind": "embeddings", "files": {"1.0": "full.npy", "0.1": "tenth.npy"}},
        "my_own": {"kind": "custom", "class_path": "my_model.py:MyModel"},
    },
    "noise": {"kind": "binomial_thinning", "levels": [1.0, 0.1]},
}
"""The study that `dagster_project.toml` shows commented out."""


def render_study(name: str, study: Study) -> str:
    """The file of one study."""
    return "\n".join(_table(f"studies.{name}", study))


def render_project(project: Project) -> str:
    """A whole project file: the machine, every study, and the example commented out."""
    tables = [_table("machine", project.machine)]
    tables += [_table(f"studies.{name}", study) for name, study in project.studies.items()]
    example = [f"# {line}".rstrip() for line in _table("studies.my_cells", Study.model_validate(EXAMPLE))]
    return "\n".join([HEADER, *(line for table in tables for line in table), *example]) + "\n"


def _table(name: str, settings: Settings) -> list[str]:
    """The lines of one table and, below it, of the tables inside."""
    lines, inside = [f"[{name}]"], []
    for field, info in type(settings).model_fields.items():
        value = getattr(settings, field)
        if isinstance(value, Settings):
            inside += _table(f"{name}.{field}", value)
        elif isinstance(value, Mapping) and any(isinstance(item, Settings) for item in value.values()):
            inside += [line for key, item in value.items() for line in _table(f"{name}.{field}.{key}", item)]
        else:
            is_set = field in settings.model_fields_set or field == "kind"
            lines += [*_comment(info.description or ""), _assignment(field, value, is_set=is_set)]
    return [*lines, "", *inside]


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(" ".join(text.split()), WIDTH)]


def _assignment(field: str, value: Any, *, is_set: bool) -> str:
    if value is None:
        return f"# {field} ="
    return ("" if is_set else "# ") + f"{field} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        if not value:
            return "{}"
        return "{ " + ", ".join(f"{_toml(str(key))} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return tomlkit.item(str(value) if isinstance(value, Path) else value).as_string()
