"""A study for the user's own file: what `nsl run --h5ad`, `nsl plan --h5ad` and `nsl init` write."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from nsl_assets.cli.file_task import FileTaskOptions
from nsl_assets.errors import InputError, StudyError
from nsl_assets.models import has_budget
from nsl_assets.noise import geometric_levels
from nsl_assets.public_data import findings
from nsl_assets.randomness import key_digest
from nsl_assets.study import LONGEST_NAME, Project, Study, parse_project, parse_study, storage_root
from nsl_assets.tasks import outline

LOWEST_LEVEL = 0.025
SMALLEST_SIZE = 250


@dataclass(frozen=True)
class Request:
    """What the user asks for on the command line. None: as in the template, or the default where there is none."""

    h5ad: Path
    auxiliary: str | None = None
    task: FileTaskOptions = field(default_factory=FileTaskOptions)
    template: str | None = None
    """A study whose models, noise levels, number of sizes and seeds are taken over."""
    models: Sequence[str] | None = None
    budget: str | None = None
    n_levels: int | None = None
    probe_levels: Literal["all"] | Sequence[float] | None = None
    """Noise levels at which every model is probed beside its own."""
    n_sizes: int | None = None
    n_seeds: int | None = None
    name: str | None = None
    protocol: str | None = None


def study_name(request: Request) -> str:
    """The name of the derived study: the same file, signal and template resume the same study."""
    if request.name:
        return request.name
    parts = [request.h5ad.stem, request.task.signal(request.auxiliary), *filter(None, [request.template])]
    text = "_".join(parts)
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    name = name if name[:1].isalpha() else f"study_{name}"
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 9]}_{key_digest(text, size=4).hex()}"


def derive(request: Request, project: Project) -> tuple[str, dict[str, Any]]:
    """Name and content of the study. InputError with every problem of the file, StudyError for a wrong option."""
    name, task = study_name(request), request.task.content(request.h5ad, request.auxiliary)
    template = _template(project.study(request.template)) if request.template else PLAIN
    models = _models(request, template["models"])
    asked = {
        "protocol": request.protocol,
        "n_seeds": request.n_seeds,
        "models": models,
        "noise": request.n_levels and _noise(request.n_levels),
        "probe_levels": request.probe_levels,
    }
    if request.budget and not any(has_budget(model["kind"]) for model in models.values()):
        raise StudyError(
            f"--budget {request.budget} is about scvi and geneformer; the models are {', '.join(models)}. Name"
            " one of them with --models, or leave --budget out."
        )
    content = {
        "description": f"{request.h5ad.name}, {request.task.about(request.auxiliary)}",
        **template,
        **{name: value for name, value in asked.items() if value is not None},
        "tasks": {"cells": task},
    }
    # Options first, they cost nothing; then the file, all of its problems at once.
    settings = parse_project({"studies": {name: content}}).study(name).tasks["cells"]
    problems = [finding.message for finding in findings(settings) if finding.level == "error"]
    if problems:
        raise InputError("\n".join(problems))
    n_sizes = request.n_sizes or len(template["sizes"])
    return name, content | {"sizes": sizes(outline(settings).n_train_pool, n_sizes, min(template["sizes"]))}


def _template(study: Study) -> dict[str, Any]:
    """What another study says, but for what belongs to its data."""
    content = study.model_dump(
        mode="json", exclude_none=True, exclude_unset=True, exclude={"description", "owners", "tasks", "grids"}
    )
    return content | {
        "models": {name: one for name, one in content["models"].items() if one["kind"] not in OF_THE_DATA}
    }


def _noise(n_levels: int) -> dict[str, Any]:
    return {"kind": "binomial_thinning", "levels": list(geometric_levels(n_levels, LOWEST_LEVEL))}


def _models(request: Request, known: Mapping[str, Any]) -> dict[str, Any]:
    """The models that are asked for, as the template has them; else of the kind of that name, with its defaults."""
    names = request.models or tuple(known)
    return {name: _with_budget(known.get(name, {"kind": name}), request.budget) for name in names}


def _with_budget(model: Mapping[str, Any], budget: str | None) -> dict[str, Any]:
    return {**model, "budget": budget} if budget and has_budget(model["kind"]) else dict(model)


OF_THE_DATA: Final = ("oracle", "embeddings")
"""Kinds of models that a template does not pass on: they belong to its own cells."""
PLAIN: Final[Mapping[str, Any]] = {
    "sizes": [SMALLEST_SIZE],
    "n_seeds": 3,
    "models": {model: {"kind": model} for model in ("random_projection", "pca")},
    "noise": _noise(6),
}
"""What a study of a file is without a template."""


def sizes(n_pool: int, n_sizes: int, smallest: int = SMALLEST_SIZE) -> list[int]:
    """Training sizes, log-spaced from the whole pool down."""
    smallest = min(smallest, n_pool)
    ratio = (smallest / n_pool) ** (1 / max(n_sizes - 1, 1))
    return sorted({max(2, round(n_pool * ratio**i)) for i in range(n_sizes)})


def require_free_name(name: str, content: Mapping[str, Any], project: Project, *, made_by: str | None = None) -> None:
    """StudyError where writing the study would lose another: one of other data, or one edited by hand.

    A file that begins with `made_by` was written by the same command and may be written anew.
    """
    if name not in project.studies:
        return
    file = storage_root() / "studies" / f"{name}.toml"
    same_tasks = project.study(name).tasks == parse_study(name, content, file.parent).tasks
    is_ours = made_by is not None and file.is_file() and file.read_text().startswith(f"# {made_by}")
    if not (same_tasks and is_ours):
        where = file if file.is_file() else "dagster_project.toml"
        raise StudyError(f"there is a study '{name}' in {where}. Run that one: nsl run {name}. Or choose a --name.")
