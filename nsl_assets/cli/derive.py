"""A study for the user's own file: what `nsl run --h5ad`, `nsl plan --h5ad` and `nsl init` write."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nsl_assets.errors import InputError, StudyError
from nsl_assets.noise import geometric_levels
from nsl_assets.randomness import key_digest
from nsl_assets.study import LONGEST_NAME, Project, parse_project, storage_root
from nsl_assets.tasks import inspect, outline

DEFAULT_MODELS = ("random_projection", "pca")
LOWEST_LEVEL = 0.025
SMALLEST_SIZE = 250


@dataclass(frozen=True)
class Request:
    """What the user asks for on the command line."""

    h5ad: Path
    auxiliary: str
    layer: str | None = None
    group: str | None = None
    models: Sequence[str] = DEFAULT_MODELS
    n_levels: int = 6
    n_sizes: int = 1
    n_seeds: int = 3
    name: str | None = None
    protocol: str = "corrected"


def study_name(request: Request) -> str:
    """The name of the derived study: the same file and signal resume the same study."""
    if request.name:
        return request.name
    text = f"{request.h5ad.stem}_{request.auxiliary.partition(':')[2]}"
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    name = name if name[:1].isalpha() else f"study_{name}"
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 9]}_{key_digest(text, size=4).hex()}"


def derive(request: Request) -> tuple[str, dict[str, Any]]:
    """Name and content of the study. InputError with every problem of the file, StudyError for a wrong option."""
    name, task = study_name(request), _task(request)
    content = {
        "description": f"{request.h5ad.name}, about {request.auxiliary}",
        "protocol": request.protocol,
        "sizes": [SMALLEST_SIZE],
        "n_seeds": request.n_seeds,
        "tasks": {"cells": task},
        "models": {model: {"kind": model} for model in request.models},
        "noise": {
            "kind": "binomial_thinning",
            "levels": list(geometric_levels(request.n_levels, LOWEST_LEVEL)),
        },
    }
    # Options first, they cost nothing; then the file, all of its problems at once.
    settings = parse_project({"studies": {name: content}}).study(name).tasks["cells"]
    problems = [finding.message for finding in inspect(settings) if finding.level == "error"]
    if problems:
        raise InputError("\n".join(problems))
    return name, content | {"sizes": sizes(outline(settings).n_train_pool, request.n_sizes)}


def _task(request: Request) -> dict[str, str]:
    path = str(request.h5ad.expanduser().resolve())
    given = {"path": path, "auxiliary": request.auxiliary, "layer": request.layer, "group": request.group}
    return {"kind": "h5ad", **{key: value for key, value in given.items() if value is not None}}


def sizes(n_pool: int, n_sizes: int) -> list[int]:
    """Training sizes, log-spaced from the whole pool down."""
    smallest = min(SMALLEST_SIZE, n_pool)
    ratio = (smallest / n_pool) ** (1 / max(n_sizes - 1, 1))
    return sorted({max(2, round(n_pool * ratio**i)) for i in range(n_sizes)})


def require_free_name(name: str, content: Mapping[str, Any], project: Project, *, made_by: str | None = None) -> None:
    """StudyError where writing the study would lose another: one of other data, or one edited by hand.

    A file that begins with `made_by` was written by the same command and may be written anew.
    """
    if name not in project.studies:
        return
    file = storage_root() / "studies" / f"{name}.toml"
    same_tasks = project.study(name).tasks == parse_project({"studies": {name: content}}).study(name).tasks
    is_ours = made_by is not None and file.is_file() and file.read_text().startswith(f"# {made_by}")
    if not (same_tasks and is_ours):
        where = file if file.is_file() else "dagster_project.toml"
        raise StudyError(f"there is a study '{name}' in {where}. Run that one: nsl run {name}. Or choose a --name.")
