"""The paper's study: four public data sets, each on its published grid, with four models and three seeds.

The one definition of it: study `paper` of the project file is made of it, and so is that of a single data set.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nsl_assets.datasets import address_of, data_set, options_of, paper_grid, place
from nsl_assets.study.files import data_root
from nsl_assets.study.types import Protocol

N_SEEDS: Final = 3
MODELS: Final = ("random_projection", "pca", "scvi", "geneformer")
TASKS: Final[Mapping[str, Mapping[str, Any]]] = {
    "embryo": {
        "kind": "h5ad",
        "auxiliary": "obs:author_day",
        "auxiliary_kind": "ordered",
        "stages": "alphabetical",
        "probe_fraction": 0.1,
        "validation_fraction": 0.02,
    },
    "pbmc_citeseq": {
        "kind": "h5ad",
        "auxiliary": "obsm:protein_counts",
        "probe_fraction": 0.25,
        "validation_fraction": 0.08,
    },
    "larry": {"kind": "clonal_pairs", "clone": "obs:clone", "time": "obs:day", "early": ["2", "4"], "late": ["6"]},
    "merfish": {
        "kind": "spatial_pairs",
        "coordinates": "obsm:spatial",
        "probe_fraction": 0.09,
        "validation_fraction": 0.02,
    },
}
"""The task on each data set, of its name. Fractions leave enough cells for the largest published size."""
PUBLISHED_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {"larry": {"inversion": "truncated"}}
"""Options of data sets as the paper made them, where they are not the defaults."""
DEEPEST: Final = "pbmc_citeseq"
"""The data set whose grid is the study's own: what a file gets for which the study is a template."""


def paper_study(names: Sequence[str] = tuple(TASKS), protocol: Protocol = "corrected") -> dict[str, Any]:
    """The paper's study of these data sets, as a study file has it; nothing is read. InputError for other names."""
    own = paper_grid(names[0] if len(names) == 1 else DEEPEST)
    study = {
        "description": f"The paper's grid on {data_set(names[0]).title}" if len(names) == 1 else DESCRIPTION,
        "protocol": protocol,
        "sizes": list(own.sizes),
        "n_seeds": N_SEEDS,
        "tasks": {name: {**TASKS[name], "path": _address(name, protocol)} for name in names},
        "models": {model: {"kind": model} for model in MODELS},
        "noise": {"kind": "binomial_thinning", "levels": list(own.levels)},
    }
    if len(names) > 1:
        study["grids"] = {name: _grid(name) for name in names}
    return study


DESCRIPTION: Final = "The paper's four data sets, each on its published grid: nsl data fetch NAME gets them"


def _grid(name: str) -> dict[str, Any]:
    grid = paper_grid(name)
    return {"sizes": list(grid.sizes), "levels": list(grid.levels)}


def _address(name: str, protocol: Protocol) -> str:
    one = data_set(name)
    options = PUBLISHED_OPTIONS.get(name, {}) if protocol == "published" else {}
    return address_of(place(one, options_of(one, options), data_root()))
