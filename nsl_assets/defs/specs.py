"""What the assets of a study have in common: group, tags, owners, versions."""

from collections.abc import Iterable
from typing import Any, Required, TypedDict, Unpack

import dagster as dg

from nsl_assets.study import Study


class SpecOptions(TypedDict, total=False):
    """What differs between assets of a study."""

    kinds: Required[set[str]]
    code_version: Required[str]
    deps: Iterable[dg.AssetKey | dg.AssetDep]
    automation_condition: dg.AutomationCondition[Any]


def asset_spec(name: str, study: Study, key: dg.AssetKey, description: str, **how: Unpack[SpecOptions]) -> dg.AssetSpec:
    """The spec of one asset of a study."""
    return dg.AssetSpec(
        key,
        description=description,
        deps=list(how.get("deps", ())),
        group_name=name,
        kinds=how["kinds"],
        owners=list(study.owners) or None,
        code_version=how["code_version"],
        automation_condition=how.get("automation_condition"),
        tags={"nsl/study": name, "nsl/protocol": study.protocol, **_place(key)},
        # Partitions are recorded one by one while a run goes on; there is nothing left to return.
        skippable=True,
    )


def _place(key: dg.AssetKey) -> dict[str, str]:
    """Task and model that an asset belongs to, where it does: for selections such as `tag:nsl/model=pca`."""
    return dict(zip(("nsl/task", "nsl/model"), key.path[1:-1], strict=False))


def op_name(key: dg.AssetKey) -> str:
    """Name of the op of an asset."""
    return "__".join(key.path)
