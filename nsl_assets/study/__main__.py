"""Writes `dagster_project.toml` anew: every field with what its docstring says now.

Where it has no study `paper`, it gets the paper's.
"""

from nsl_assets.study import PROJECT_FILE, Project, paper_study, project_root, render_project
from nsl_assets.study.files import read_project_file
from nsl_resources.artifacts import atomic_write_text

path = project_root() / PROJECT_FILE
content = read_project_file(path)
content.setdefault("studies", {}).setdefault("paper", {"owners": ["team:nsl"], **paper_study()})
atomic_write_text(path, render_project(Project.model_validate(content)))
