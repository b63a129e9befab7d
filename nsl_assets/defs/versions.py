"""Code versions of assets: the room's version and a digest of the settings, so that a changed study shows as stale.

No file is read for them: Dagster asks for them whenever it loads the definitions.
"""

from collections.abc import Mapping
from typing import Any

from nsl_assets import laws, noise, planning, probing, report, tasks
from nsl_assets.models import code_version as model_version
from nsl_assets.study import Study
from nsl_resources.artifacts import content_hash


def source_version(study: Study, task: str) -> str:
    """Of `source`."""
    return _version(tasks.CODE_VERSION, study.tasks[task].identity())


def noised_version(study: Study) -> str:
    """Of `noised`; its levels are partitions."""
    return _version(noise.CODE_VERSION, {"kind": study.noise.kind, "n_seeds": study.n_seeds})


def grid_version(asset: str, study: Study, model: str) -> str:
    """Of `trained`, `embedding` or `mutual_information` of a model."""
    if asset == "mutual_information":
        estimators = {name: probing.estimator_identity(study.probing, name) for name in study.probing.estimators}
        how: dict[str, Any] = {
            "estimators": estimators,
            "untrained_baseline": study.untrained_baseline,
            "n_seeds": study.n_seeds,
        }
        return _version(probing.CODE_VERSION, how | _crossed(study))
    settings = study.models[model]
    crossed = _crossed(study) if asset == "embedding" else {}
    return _version(model_version(settings), {"model": settings.identity(), "n_seeds": study.n_seeds, **crossed})


def _crossed(study: Study) -> dict[str, Any]:
    """Other noise levels at which models are embedded and probed; nothing where there are none."""
    return {"probe_levels": study.probe_levels} if study.probe_levels else {}


def law_version(study: Study) -> str:
    """Of the laws and the comparison of models."""
    return _version(laws.CODE_VERSION, {"laws": study.laws.identity(), "headline": study.probing.headline})


def advice_version(study: Study) -> str:
    """Of `advice`."""
    how = {"laws": study.laws.identity(), "planning": study.planning.identity(), "headline": study.probing.headline}
    return _version(f"{laws.CODE_VERSION}.{planning.CODE_VERSION}", how)


def report_version(study: Study) -> str:
    """Of `report`."""
    return _version(report.CODE_VERSION, {"headline": study.probing.headline})


def _version(code_version: str, settings: Mapping[str, Any]) -> str:
    return f"{code_version}-{content_hash('settings', dict(settings))[:8]}"
