"""Whether `results` keep up with what lands in them.

A freshness policy of Dagster's asks for news at fixed times, and would fail a study that is simply done. Results are
stale only where an asset upstream is newer than they are, for longer than automation takes.
"""

import time
from collections.abc import Sequence

import dagster as dg

from nsl_assets.defs import keys
from nsl_assets.progress import duration
from nsl_assets.study import Project

RESULTS_ARE_FRESH = "is_fresh"
LONGEST_LAG_S = 1_800.0
"""Automation looks every half minute; its run may wait for others."""


def results_freshness(project: Project) -> dg.AssetChecksDefinition:
    """The check `is_fresh` of `results`; a sensor evaluates it where no run does."""
    upstream = keys.all_landing_keys(project)

    @dg.asset_check(
        asset=keys.RESULTS,
        name=RESULTS_ARE_FRESH,
        description=f"Nothing upstream has been newer than the results for more than {duration(LONGEST_LAG_S)[6:]}.",
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        return results_lag(context.instance, upstream)

    return check


def results_lag(instance: dg.DagsterInstance, upstream: Sequence[dg.AssetKey]) -> dg.AssetCheckResult:
    """How long assets upstream have been newer than the results."""
    records = {record.asset_entry.asset_key: record for record in instance.get_asset_records([keys.RESULTS, *upstream])}
    updated_s = {
        key: record.asset_entry.last_materialization.timestamp
        for key, record in records.items()
        if record.asset_entry.last_materialization is not None
    }
    results_s = updated_s.pop(keys.RESULTS, 0.0)
    newer = [at_s for at_s in updated_s.values() if at_s > results_s]
    lag_s = time.time() - min(newer) if newer else 0.0
    is_fresh = lag_s <= LONGEST_LAG_S
    text = (
        "nothing upstream waits to be published"
        if is_fresh
        else f"{len(newer)} assets are newer than the results, since {duration(lag_s)}: is the daemon running, and the"
        " sensor `laws_results_and_report` on? Materialize `results` by hand to catch up."
    )
    return dg.AssetCheckResult(
        passed=is_fresh,
        severity=dg.AssetCheckSeverity.WARN,
        description=text,
        metadata={"n_newer_assets": len(newer), "lag_seconds": lag_s},
    )
