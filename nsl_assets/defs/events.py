"""Materializations of single partitions with their versions, recorded the moment a partition ends.

Inside a run over many partitions Dagster would record all of them at the end, with the same metadata, and a crash
would lose them. So each is logged by hand, with the tags from which Dagster tells fresh from stale: code version,
data version (our content hash), and for every dependency its data version and the event that was read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from nsl_resources.artifacts import content_hash


@dataclass(frozen=True)
class Read:
    """What was read of an upstream asset: its data version, and the newest event of the instance at that time.

    Dagster calls a dependency updated where a later event of it has another data version.
    """

    key: dg.AssetKey
    data_version: str
    event: int

    @property
    def tags(self) -> dict[str, str]:
        """As Dagster itself would attach it."""
        name = self.key.to_user_string()
        return {
            f"dagster/input_data_version/{name}": self.data_version,
            f"dagster/input_event_pointer/{name}": str(self.event),
        }


def newest(instance: dg.DagsterInstance, key: dg.AssetKey, partitions: Iterable[str] | None = None) -> list[Read]:
    """The newest materialization of an asset, over these partitions; empty where there is none."""
    wanted = None if partitions is None else list(partitions)
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=wanted), limit=1
    ).records
    return [Read(key, _data_version(record) or "UNKNOWN", record.storage_id) for record in records]


def just_recorded(instance: dg.DagsterInstance, key: dg.AssetKey, data_version: str) -> Read:
    """A materialization that this process recorded last; cheaper than looking for it."""
    return Read(key, data_version, instance.event_log_storage.get_maximum_record_id() or 0)


def record_partition(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    partition: str,
    *,
    data_version: str,
    code_version: str,
    dependencies: Iterable[Read] = (),
    metadata: Mapping[str, Any],
) -> None:
    """Record that one partition of an asset is materialized, with this content."""
    tags = {
        "dagster/data_version": data_version,
        "dagster/data_version_is_user_provided": "true",
        "dagster/code_version": code_version,
    }
    for dependency in dependencies:
        tags |= dependency.tags
    if isinstance(partition, dg.MultiPartitionKey):
        tags |= {f"dagster/partition/{name}": value for name, value in partition.keys_by_dimension.items()}
    context.log_event(dg.AssetMaterialization(asset_key=key, partition=partition, metadata=dict(metadata), tags=tags))


def combined_version(parts: Iterable[str]) -> str:
    """One data version for several artifacts, e.g. all seeds of a partition."""
    return content_hash("partition", {"parts": sorted(parts)})


def _data_version(record: dg.EventLogRecord) -> str | None:
    event = record.asset_materialization
    return (event.tags or {}).get("dagster/data_version") if event else None
