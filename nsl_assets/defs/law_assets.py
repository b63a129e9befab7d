"""Assets of what follows from the measurements: noise law, cell-number law, joint law, comparison, advice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from nsl_assets import laws
from nsl_assets.advising import advise_tasks
from nsl_assets.curves import panel_shares, read_curves, unscaled_panels
from nsl_assets.defs import keys
from nsl_assets.defs.automation import WHEN_ANYTHING_UPSTREAM_CHANGES
from nsl_assets.defs.events import newest, record_partition
from nsl_assets.defs.grid_run import plain_failures
from nsl_assets.defs.metadata import (
    advice_metadata,
    cell_number_metadata,
    comparison_metadata,
    joint_metadata,
    law_metadata,
)
from nsl_assets.defs.specs import asset_spec, op_name
from nsl_assets.defs.versions import advice_version, law_version
from nsl_assets.law_rows import (
    advice_hash,
    advice_rows,
    cell_number_law_rows,
    joint_law_rows,
    land_rows,
    law_comparison_rows,
    law_hash,
    model_comparison_rows,
    noise_law_rows,
)
from nsl_assets.laws import MeasuredCurve
from nsl_assets.noise import level_of
from nsl_assets.reporting import picture_of
from nsl_assets.study import Study
from nsl_resources.resources import StorageResource
from nsl_resources.results import Results, Row, TableName

ONE_RUN = dg.BackfillPolicy.single_run()
"""Fits take milliseconds, a run seconds: one run fits all that is backfilled."""


@dataclass(frozen=True)
class LawAssets:
    """The assets of one study that are fitted to its measurements."""

    name: str
    study: Study

    def build(self) -> list[dg.AssetsDefinition]:
        """All of them: laws that the grid is too small for are left out."""
        factories = {
            "noise_law": self.noise_law,
            "cell_number_law": self.cell_number_law,
            "joint_law": self.joint_law,
        }
        assets = []
        for task in self.study.tasks:
            of_task = keys.TaskKeys(self.name, task)
            for model in self.study.models:
                assets += [factories[law](of_task, model) for law in keys.law_names(self.study, task, model)]
            if len(self.study.models) > 1:
                assets.append(self.model_comparison(of_task))
            assets.append(self.advice(of_task))
        return assets

    def noise_law(self, of_task: keys.TaskKeys, model: str) -> dg.AssetsDefinition:
        """`<study>/<task>/<model>/noise_law`: the fit over the noise levels, one partition a training size."""
        key, upstream = of_task.of_model(model, "noise_law"), of_task.of_model(model, "mutual_information")
        spec = self._spec(
            key,
            f"Noise law of `{model}`: how many bits, at what depth, and how deep is deep enough; and its rivals.",
            deps=[dg.AssetDep(upstream, partition_mapping=dg.MultiToSingleDimensionPartitionMapping(keys.CELLS))],
        )

        @dg.multi_asset(
            specs=[spec],
            name=op_name(key),
            partitions_def=keys.size_partitions(self.study, of_task.task, model),
            backfill_policy=ONE_RUN,
        )
        def noise_law(context: dg.AssetExecutionContext, storage: StorageResource) -> Iterator[Any]:
            wanted = {keys.size_of(partition): partition for partition in context.partition_keys}
            curves = self._curves(storage.results, of_task, model)
            fitted = laws.fit_curves([one for one in curves if one.n_cells in wanted], self.study.laws)
            headline = [one for one in fitted if self._is_headline(one.measured.estimator)]
            compared = laws.compare_laws_of_each([one.measured for one in headline])
            levels = self.study.levels_of(of_task.task)
            rows: dict[TableName, Sequence[Row]] = {
                "noise_law": noise_law_rows(self.name, self.study, fitted),
                "law_comparison": law_comparison_rows(self.name, self.study, compared),
            }
            land_rows(storage.results, rows)
            for one, rivals in zip(headline, compared, strict=True):
                n_cells = one.measured.n_cells or 0
                record_partition(
                    context,
                    key,
                    wanted[n_cells],
                    data_version=law_hash("noise_law", [one.measured.digest], self.study),
                    code_version=law_version(self.study),
                    dependencies=newest(context.instance, upstream, [keys.grid_key(n_cells, q) for q in levels]),
                    metadata=law_metadata(one, rivals, picture_of(one)),
                )
            yield from ()

        return noise_law

    def cell_number_law(self, of_task: keys.TaskKeys, model: str) -> dg.AssetsDefinition:
        """`<study>/<task>/<model>/cell_number_law`: the fit over the training sizes, one partition a noise level."""
        key, upstream = of_task.of_model(model, "cell_number_law"), of_task.of_model(model, "mutual_information")
        spec = self._spec(
            key,
            f"Cell-number law of `{model}`: what more training cells would add at each noise level.",
            deps=[dg.AssetDep(upstream, partition_mapping=dg.MultiToSingleDimensionPartitionMapping(keys.NOISE))],
        )

        @dg.multi_asset(
            specs=[spec],
            name=op_name(key),
            partitions_def=keys.noise_partitions(self.study, of_task.task),
            backfill_policy=ONE_RUN,
        )
        def cell_number_law(context: dg.AssetExecutionContext, storage: StorageResource) -> Iterator[Any]:
            wanted = {level_of(partition): partition for partition in context.partition_keys}
            curves = laws.curves_over_cells(self._curves(storage.results, of_task, model))
            fitted = laws.fit_cells([one for one in curves if one.level in wanted], self.study.laws)
            sizes = self.study.sizes_of(of_task.task, model)
            land_rows(storage.results, {"cell_number_law": cell_number_law_rows(self.name, self.study, fitted)})
            for one in fitted:
                if not self._is_headline(one.measured.estimator):
                    continue
                level = one.measured.level
                record_partition(
                    context,
                    key,
                    wanted[level],
                    data_version=law_hash("cell_number_law", one.measured.digests, self.study),
                    code_version=law_version(self.study),
                    dependencies=newest(context.instance, upstream, [keys.grid_key(n, level) for n in sizes]),
                    metadata=cell_number_metadata(one),
                )
            yield from ()

        return cell_number_law

    def joint_law(self, of_task: keys.TaskKeys, model: str) -> dg.AssetsDefinition:
        """`<study>/<task>/<model>/joint_law`: the fit over the whole surface."""
        key = of_task.of_model(model, "joint_law")
        spec = self._spec(
            key,
            f"Joint law of `{model}`: information at any depth with any number of training cells.",
            deps=[of_task.of_model(model, "mutual_information")],
        )

        @dg.multi_asset(specs=[spec], name=op_name(key))
        def joint_law(context: dg.AssetExecutionContext, storage: StorageResource) -> Iterator[Any]:
            curves = self._headline(storage.results, of_task, model)
            settings = laws.JointSettings(confidence=self.study.laws.confidence)
            fitted = laws.fit_surfaces(laws.surfaces(curves), settings)
            land_rows(storage.results, {"joint_law": joint_law_rows(self.name, self.study, fitted)})
            for one in fitted:
                version = law_hash("joint_law", one.measured.digests, self.study)
                yield dg.MaterializeResult(
                    asset_key=key, metadata=joint_metadata(one), data_version=dg.DataVersion(version)
                )

        return joint_law

    def model_comparison(self, of_task: keys.TaskKeys) -> dg.AssetsDefinition:
        """`<study>/<task>/model_comparison`: every two models, at every training size."""
        key = of_task.model_comparison
        spec = self._spec(
            key,
            "Paired differences of Imax, noise scale and target depth between models, from the same seeds.",
            deps=[of_task.of_model(model, "noise_law") for model in self.study.models],
        )

        @dg.multi_asset(specs=[spec], name=op_name(key))
        def model_comparison(context: dg.AssetExecutionContext, storage: StorageResource) -> Iterator[Any]:
            curves = self._headline(storage.results, of_task)
            compared = laws.compare_models_of_each(curves, self.study.laws)
            land_rows(storage.results, {"model_comparison": model_comparison_rows(self.name, self.study, compared)})
            version = law_hash("model_comparison", [one.digest for one in curves], self.study)
            yield dg.MaterializeResult(
                asset_key=key, metadata=comparison_metadata(compared), data_version=dg.DataVersion(version)
            )

        return model_comparison

    def advice(self, of_task: keys.TaskKeys) -> dg.AssetsDefinition:
        """`<study>/<task>/advice`: what depth, how many cells, which model, for what money."""
        spec = self._spec(
            of_task.advice,
            "What depth, how many cells, which model, for what money: with intervals, or why the data cannot say.",
            deps=keys.law_keys_of(of_task, self.study),
            code_version=advice_version(self.study),
        )

        @dg.multi_asset(specs=[spec], name=op_name(of_task.advice))
        def advice(context: dg.AssetExecutionContext, storage: StorageResource) -> Iterator[Any]:
            curves = self._headline(storage.results, of_task)
            with plain_failures():
                shares = panel_shares(storage.results, self.name)
                advised = advise_tasks(
                    curves, self.study.laws, self.study.planning, shares, unscaled_panels(self.study)
                )
            share = shares.get(of_task.task)
            rows = [
                row
                for one in advised
                for row in advice_rows(self.name, self.study, one.task, curves, one.advice, panel_share=share)
            ]
            land_rows(storage.results, {"advice": rows})
            yield dg.MaterializeResult(
                asset_key=of_task.advice,
                metadata=advice_metadata(advised),
                data_version=dg.DataVersion(advice_hash(curves, self.study, share)),
            )

        return advice

    def _curves(self, results: Results, of_task: keys.TaskKeys, model: str | None = None) -> list[MeasuredCurve]:
        return read_curves(results, self.name, self.study, task=of_task.task, model=model)

    def _headline(self, results: Results, of_task: keys.TaskKeys, model: str | None = None) -> list[MeasuredCurve]:
        return [one for one in self._curves(results, of_task, model) if self._is_headline(one.estimator)]

    def _is_headline(self, estimator: str) -> bool:
        return estimator == self.study.probing.headline

    def _spec(
        self, key: dg.AssetKey, description: str, deps: Sequence[dg.AssetKey | dg.AssetDep], code_version: str = ""
    ) -> dg.AssetSpec:
        return asset_spec(
            self.name,
            self.study,
            key,
            description,
            kinds={"scipy"},
            deps=deps,
            code_version=code_version or law_version(self.study),
            automation_condition=WHEN_ANYTHING_UPSTREAM_CHANGES,
        )
