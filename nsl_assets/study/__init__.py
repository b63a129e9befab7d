"""Studies: what is measured, typed; and the files that they are written in."""

from nsl_assets.study.files import (
    PROJECT_FILE,
    definition_text,
    load_project,
    parse_project,
    parse_settings,
    parse_task,
    project_root,
    save_study,
    storage_root,
)
from nsl_assets.study.rendering import render_project, render_study
from nsl_assets.study.types import LONGEST_NAME, GridCell, Machine, Night, Project, Study, TaskGrid

__all__ = [
    "LONGEST_NAME",
    "PROJECT_FILE",
    "GridCell",
    "Machine",
    "Night",
    "Project",
    "Study",
    "TaskGrid",
    "definition_text",
    "load_project",
    "parse_project",
    "parse_settings",
    "parse_task",
    "project_root",
    "render_project",
    "render_study",
    "save_study",
    "storage_root",
]
