"""Asset factories: each asset reads its partition keys, calls a room, and records metadata. Nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Unpack

import dagster as dg

from nsl_assets.defs import keys
from nsl_assets.defs.automation import WHEN_ANYTHING_UPSTREAM_CHANGES
from nsl_assets.defs.events import combined_version
from nsl_assets.defs.grid_run import GridRun, plain_failures, thin
from nsl_assets.defs.law_assets import LawAssets
from nsl_assets.defs.metadata import depth_text, source_metadata
from nsl_assets.defs.specs import SpecOptions, asset_spec, op_name
from nsl_assets.defs.versions import grid_version, noised_version, report_version, source_version
from nsl_assets.estimate import study_cost
from nsl_assets.grid import Platform, prepare_data, register
from nsl_assets.identity import auxiliary_hash, data_hash
from nsl_assets.launching import require_launchable
from nsl_assets.models import estimate_cost
from nsl_assets.noise import level_of
from nsl_assets.progress import Progress
from nsl_assets.public_data import require_data_sets
from nsl_assets.reporting import write_report
from nsl_assets.study import Machine, Project, Study
from nsl_resources.resources import StorageResource, WorkersResource
from nsl_resources.results import SCHEMA_VERSION, TABLES

ONE_RUN = dg.BackfillPolicy.single_run()
"""A run costs seconds and records its partitions one by one, so it takes all that is backfilled.

Dagster's commands (`dg launch --partition-range`) take ranges under no other policy.
"""
GRID_POOL = "nsl_grid"
"""Dagster's outer guard: how many runs may measure at a time, whatever else runs. Memory is the ledger's business."""
NOMINAL_GENES = 2_000
"""For the order of models by cost, which is needed before any file is read."""
GRID_DESCRIPTIONS = {
    "trained": "`{model}` fitted to the thinned training cells, one model a seed.",
    "embedding": "The probe cells as `{model}` represents them.",
    "mutual_information": "Bits that the representation of `{model}` keeps about the hidden auxiliary signal.",
}


@dataclass(frozen=True)
class StudyAssets:
    """The assets of one study."""

    name: str
    study: Study
    machine: Machine

    def build(self) -> list[dg.AssetsDefinition]:
        """All assets of the study."""
        assets = [self.report()]
        for task in self.study.tasks:
            of_task = keys.TaskKeys(self.name, task)
            assets += [self.source(of_task), self.noised(of_task)]
            for model in self.study.models:
                assets.append(self.grid(of_task, model))
        return [*assets, *LawAssets(self.name, self.study).build()]

    def source(self, of_task: keys.TaskKeys) -> dg.AssetsDefinition:
        """`<study>/<task>/source`: canonical counts, auxiliary signal, split."""
        settings = self.study.tasks[of_task.task]
        spec = self._spec(
            of_task.source,
            f"Counts, auxiliary signal and split of task `{of_task.task}`, checked and stored once.",
            kinds={"zarr", "parquet"},
            code_version=source_version(self.study, of_task.task),
        )

        @dg.multi_asset(specs=[spec], name=op_name(of_task.source))
        def source(
            context: dg.AssetExecutionContext, storage: StorageResource, workers: WorkersResource
        ) -> Iterator[Any]:
            platform = self._platform(storage, workers)
            with plain_failures():
                require_data_sets(self.study, [of_task.task])
                cost = study_cost(self.name, self.study, platform, [of_task.task])
                require_launchable(cost, self.machine, platform.artifacts)
                register(self.name, self.study, platform)
                task = prepare_data(self.study, of_task.task, platform)
            version = combined_version([data_hash(settings), auxiliary_hash(settings)])
            yield dg.MaterializeResult(
                asset_key=of_task.source, metadata=source_metadata(task), data_version=dg.DataVersion(version)
            )

        return source

    def noised(self, of_task: keys.TaskKeys) -> dg.AssetsDefinition:
        """`<study>/<task>/noised`: thinned counts, one partition a noise level, seeds inside."""
        spec = self._spec(
            of_task.noised,
            "Every molecule kept with probability q, independently; one zarr store a seed. q = 1 is the data itself.",
            kinds={"zarr", "numba"},
            deps=[of_task.source],
            code_version=noised_version(self.study),
        )

        @dg.multi_asset(
            specs=[spec],
            name=op_name(of_task.noised),
            partitions_def=keys.noise_partitions(self.study, of_task.task),
            backfill_policy=ONE_RUN,
        )
        def noised(
            context: dg.AssetExecutionContext,
            storage: StorageResource,
            workers: WorkersResource,
            progress: dg.ResourceParam[Progress],
        ) -> Iterator[Any]:
            platform = self._platform(storage, workers)
            with plain_failures():
                require_data_sets(self.study, [of_task.task])
            for partition in context.partition_keys:
                level = level_of(partition)
                with plain_failures():
                    stored = thin(context, self.study, of_task, level, platform)
                progress.say(f"{of_task.task}: thinned to {level:g} of the molecules, {depth_text(stored)}")
            yield from ()

        return noised

    def grid(self, of_task: keys.TaskKeys, model: str) -> dg.AssetsDefinition:
        """`trained`, `embedding` and `mutual_information` of one model: sizes × noise levels, seeds inside."""
        upstream = {"trained": of_task.noised}
        upstream |= {"embedding": of_task.of_model(model, "trained")}
        upstream |= {"mutual_information": of_task.of_model(model, "embedding")}
        specs = [
            self._spec(
                of_task.of_model(model, asset),
                GRID_DESCRIPTIONS[asset].format(model=model),
                kinds={self.study.models[model].kind} | ({"torch"} if asset == "mutual_information" else set()),
                deps=[upstream[asset]],
                code_version=grid_version(asset, self.study, model),
            )
            for asset in keys.GRID_ASSETS
        ]

        @dg.multi_asset(
            specs=specs,
            name=op_name(of_task.of_model(model, "grid")),
            partitions_def=keys.grid_partitions(self.study, of_task.task, model),
            backfill_policy=ONE_RUN,
            pool=GRID_POOL,
            op_tags={"dagster/priority": str(self._priority(of_task.task, model))},
        )
        def grid(
            context: dg.AssetExecutionContext,
            storage: StorageResource,
            workers: WorkersResource,
            progress: dg.ResourceParam[Progress],
        ) -> Iterator[Any]:
            run = GridRun(self.name, self.study, of_task, model, context, self._platform(storage, workers), progress)
            run.execute()
            yield from ()

        return grid

    def report(self) -> dg.AssetsDefinition:
        """`<study>/report`: one HTML page, with figures and data beside it."""
        key = keys.report_key(self.name)
        spec = self._spec(
            key,
            "The report as one HTML page, to open and to send, with figures and data beside it.",
            kinds={"html"},
            deps=keys.finding_keys(self.name, self.study),
            code_version=report_version(self.study),
            automation_condition=WHEN_ANYTHING_UPSTREAM_CHANGES,
        )

        @dg.multi_asset(specs=[spec], name=op_name(key))
        def report_files(context: dg.AssetExecutionContext, storage: StorageResource) -> Iterator[Any]:
            written = write_report(storage.results, self.name, self.study)
            yield dg.MaterializeResult(
                asset_key=key,
                metadata={
                    "page": dg.MetadataValue.path(str(written.page)),
                    "folder": dg.MetadataValue.path(str(written.folder)),
                    "laws": dg.MetadataValue.md(f"```\n{written.table}\n```"),
                },
            )

        return report_files

    def _priority(self, task: str, model: str) -> int:
        """Cheap models first where one run holds several: first results come early, and mistakes are cheap."""
        size = self.study.task_sizes(task)[-1]
        seconds = {name: estimate_cost(one, size, NOMINAL_GENES).seconds for name, one in self.study.models.items()}
        return -sorted(seconds, key=seconds.__getitem__).index(model)

    def _platform(self, storage: StorageResource, workers: WorkersResource) -> Platform:
        return Platform(storage.artifacts, storage.results, workers.dispatcher(), self.machine)

    def _spec(self, key: dg.AssetKey, description: str, **how: Unpack[SpecOptions]) -> dg.AssetSpec:
        return asset_spec(self.name, self.study, key, description, **how)


def results_asset(project: Project) -> dg.AssetsDefinition:
    """`results`: the DuckDB tables over all studies."""
    spec = dg.AssetSpec(
        keys.RESULTS,
        description=f"Tables {', '.join(f'`{table}`' for table in TABLES)} in DuckDB: `nsl sql`.",
        deps=keys.all_landing_keys(project),
        group_name="results",
        kinds={"duckdb"},
        code_version=str(SCHEMA_VERSION),
        automation_condition=WHEN_ANYTHING_UPSTREAM_CHANGES,
    )

    @dg.multi_asset(specs=[spec], name="results")
    def results(context: dg.AssetExecutionContext, storage: StorageResource) -> Iterator[Any]:
        storage.results.publish()
        metadata = {f"n_{table}_rows": n for table, n in storage.results.row_counts().items()}
        yield dg.MaterializeResult(asset_key=keys.RESULTS, metadata=metadata)

    return results
