"""`nsl data study`: the paper's study of a public data set, with its models, training sizes, noise levels and seeds.

One study a data set, since each has sizes and levels of its own.
"""

from pathlib import Path
from typing import Any, Final, Literal

from nsl_assets.cli.data import data_folder
from nsl_assets.cli.derive import require_free_name
from nsl_assets.cli.output import show, show_error, show_json
from nsl_assets.datasets import data_set, paper_grid, place
from nsl_assets.study import load_project, save_study, storage_root

N_SEEDS: Final = 3
MODELS: Final = ("random_projection", "pca", "scvi", "geneformer")
MADE_BY: Final = "Made by nsl data study"
TASKS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "embryo": (
        "author_day",
        {
            "kind": "h5ad",
            "auxiliary": "obs:author_day",
            "auxiliary_kind": "categorical",
            "probe_fraction": 0.1,
            "validation_fraction": 0.02,
        },
    ),
    "pbmc_citeseq": (
        "protein_counts",
        {"kind": "h5ad", "auxiliary": "obsm:protein_counts", "probe_fraction": 0.25, "validation_fraction": 0.08},
    ),
    "larry": (
        "clone",
        {"kind": "clonal_pairs", "clone": "obs:clone", "time": "obs:day", "early": ["2", "4"], "late": ["6"]},
    ),
    "merfish": (
        "neighbour",
        {
            "kind": "spatial_pairs",
            "coordinates": "obsm:spatial",
            "probe_fraction": 0.09,
            "validation_fraction": 0.02,
        },
    ),
}
"""Name and settings of the task on each data set. Fractions leave enough cells for the largest published size."""


def paper_study(name: str, path: Path, protocol: Literal["corrected", "published"] = "corrected") -> dict[str, Any]:
    """The study of a data set whose .h5ad is at ``path``, as a study file has it."""
    grid, (task, settings) = paper_grid(name), TASKS[name]
    return {
        "description": f"The paper's grid on {data_set(name).title}",
        "protocol": protocol,
        "sizes": list(grid.sizes),
        "n_seeds": N_SEEDS,
        "tasks": {task: {**settings, "path": str(path)}},
        "models": {model: {"kind": model} for model in MODELS},
        "noise": {"kind": "binomial_thinning", "levels": list(grid.levels)},
    }


def write_paper_study(name: str, protocol: Literal["corrected", "published"], *, as_json: bool) -> None:
    """Write the study as `storage/studies/paper_NAME.toml` and say what to do next."""
    one = data_set(name)
    where = place(one, one.options(**_published(name) if protocol == "published" else {}), data_folder())
    study, content = f"paper_{name}", paper_study(name, where.path, protocol)
    if protocol == "published":
        study += "_published"
    require_free_name(study, content, load_project(), made_by=MADE_BY)
    file = save_study(study, content, storage_root(), header=f"{MADE_BY}, which writes it anew.")
    if as_json:
        show_json({"study": study, "file": str(file), "data": str(where.path), "is_data_there": where.is_made})
        return
    show(f"wrote {file}\nNext: nsl plan {study}")
    if not where.is_made:
        show_error(f"its data are not there yet: nsl data fetch {name}")


def _published(name: str) -> dict[str, Any]:
    """Options of the data set as the paper made it."""
    return {"inversion": "truncated"} if name == "larry" else {}
