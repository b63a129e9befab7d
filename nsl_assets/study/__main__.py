"""Writes `dagster_project.toml` anew, with every field and what its docstring says now."""

from nsl_assets.study import PROJECT_FILE, Project, project_root, render_project
from nsl_assets.study.files import read_project_file
from nsl_resources.artifacts import atomic_write_text

path = project_root() / PROJECT_FILE
atomic_write_text(path, render_project(Project.model_validate(read_project_file(path))))
