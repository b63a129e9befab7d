"""Studies: what is measured, typed; and the files that they are written in."""

from nsl_assets.study.files import (
    PROJECT_FILE,
    data_root,
    definition_text,
    load_project,
    parse_project,
    parse_settings,
    parse_study,
    parse_task,
    project_root,
    save_study,
    storage_root,
    task_file,
)
from nsl_assets.study.paper import paper_study
from nsl_assets.study.rendering import render_project, render_study
from nsl_assets.study.types import LONGEST_NAME, GridCell, Machine, Night, Project, Protocol, Study, TaskGrid

__all__ = [
    "LONGEST_NAME",
    "PROJECT_FILE",
    "GridCell",
    "Machine",
    "Night",
    "Project",
    "Protocol",
    "Study",
    "TaskGrid",
    "data_root",
    "definition_text",
    "load_project",
    "paper_study",
    "parse_project",
    "parse_settings",
    "parse_study",
    "parse_task",
    "project_root",
    "render_project",
    "render_study",
    "save_study",
    "storage_root",
    "task_file",
]
