"""Materializations of single partitions with their versions, recorded the moment a partition ends.

Inside a run over many partitions Dagster would record all of them at the end, with the same metadata, and a crash
would lose them. So each is logged by hand, with the tags from which Dagster tells fresh from stale: code version,
data version (our content hash), and for every dependency its data version and the event that was read.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from nsl_resources.artifacts import content_hash

Dependency = tuple[dg.AssetKey, Iterable[str] | None]
"""An upstream asset and the partitions of it that were read (None: not partitioned)."""


def record_partition(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    partition: str,
    *,
    data_version: str,
    code_version: str,
    dependencies: Iterable[Dependency] = (),
    metadata: Mapping[str, Any],
) -> None:
    """Record that one partition of an asset is materialized, with this content."""
    tags = {
        "dagster/data_version": data_version,
        "dagster/data_version_is_user_provided": "true",
        "dagster/code_version": code_version,
    }
    for dependency, partitions in dependencies:
        tags |= _provenance(context.instance, dependency, partitions)
    if isinstance(partition, dg.MultiPartitionKey):
        tags |= {f"dagster/partition/{name}": value for name, value in partition.keys_by_dimension.items()}
    context.log_event(dg.AssetMaterialization(asset_key=key, partition=partition, metadata=dict(metadata), tags=tags))


def recorded_data_version(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str) -> str | None:
    """Data version of the latest materialization of a partition, or None."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition]), limit=1
    ).records
    return _data_version(records[0]) if records else None


def combined_version(parts: Iterable[str]) -> str:
    """One data version for several artifacts, e.g. all seeds of a partition."""
    return content_hash("partition", {"parts": sorted(parts)})


def _data_version(record: dg.EventLogRecord) -> str | None:
    event = record.asset_materialization
    return (event.tags or {}).get("dagster/data_version") if event else None


def _provenance(instance: dg.DagsterInstance, key: dg.AssetKey, partitions: Iterable[str] | None) -> dict[str, str]:
    """Dagster compares a dependency's newest event with the event recorded here: one event an asset."""
    wanted = None if partitions is None else list(partitions)
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=wanted), limit=1
    ).records
    if not records:
        return {}
    name = key.to_user_string()
    return {
        f"dagster/input_data_version/{name}": _data_version(records[0]) or "UNKNOWN",
        f"dagster/input_event_pointer/{name}": str(records[0].storage_id),
    }
