"""Studies as commented TOML: every field with its docstring; what is left at its default is commented out."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from nsl_assets.settings import Settings
from nsl_assets.study.types import Project, Study

WIDTH = 108


def render_study(name: str, study: Study) -> str:
    """The file of one study."""
    return "\n".join(_table(f"studies.{name}", study))


def render_project(project: Project) -> str:
    """A whole project file: the machine, and every study."""
    tables = [_table("machine", project.machine)]
    tables += [_table(f"studies.{name}", study) for name, study in project.studies.items()]
    return "\n".join(line for table in tables for line in table)


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
        return "{ " + ", ".join(f"{_toml(str(key))} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return tomlkit.item(str(value) if isinstance(value, Path) else value).as_string()
