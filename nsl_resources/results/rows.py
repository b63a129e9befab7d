"""The rows of the results tables: each field's type and comment make the column, its unit ends its name.

The SQL, the Parquet schema and the documentation are made from these classes (`schema`). Fields that may be
None are NULL columns; infinite numbers are stored as such ('Infinity'), e.g. the open end of an interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

# Columns that mean the same in every table.
Study = Annotated[str, "Study that the row belongs to; first part of its asset keys"]
Task = Annotated[str, "Data set with its auxiliary signal, as named in the study"]
Model = Annotated[str, "Representation model, as named in the study"]
CellNumber = Annotated[int, "Cells that fit the parameters: the training size of the grid (cells)"]
Level = Annotated[float, "Noise level: probability q that thinning keeps a molecule; 1 is the measured depth"]
Seed = Annotated[int, "Replicate: changes thinning, subsample, initialisation and probe together"]
Estimator = Annotated[str, "Estimator of mutual information: pooled, infonce, lmi, ksg, gaussian_copula"]
IsHeadline = Annotated[bool, "Whether this is the estimator that the study reports first"]
Protocol = Annotated[str, "corrected or published: how the steps were done where the published account differs"]
Flags = Annotated[Sequence[str], "Warnings about this row, sorted by name; empty when there are none"]
JsonObject = Mapping[str, object] | str


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasurementRow:
    """One estimate of the mutual information between an embedding and the auxiliary signal."""

    study: Study
    task: Task
    model: Model
    n_cells: CellNumber
    level: Level
    seed: Seed
    is_trained: Annotated[bool, "False for the baseline: the same model before training"]
    estimator: Estimator
    is_headline: IsHeadline
    mi_bits: Annotated[float, "Mutual information between embedding and auxiliary signal (bits)"]
    low_bits: Annotated[float | None, "Lower end of the 95 % interval of mi_bits (bits)"]
    high_bits: Annotated[float | None, "Upper end of the 95 % interval of mi_bits (bits)"]
    floor_bits: Annotated[float | None, "The same estimate on shuffled pairs, where the truth is 0 (bits)"]
    ceiling_bits: Annotated[float | None, "Entropy of a categorical auxiliary signal, else NULL (bits)"]
    umis_per_cell: Annotated[float, "Realised depth: mean over all probe cells, empty ones included (UMIs per cell)"]
    n_probe_cells: Annotated[int, "Probe cells, whether or not their auxiliary signal is known (cells)"]
    n_nonempty_probe_cells: Annotated[int | None, "Probe cells with at least one count at this level (cells)"]
    n_pairs: Annotated[int, "Pairs of embedding and known auxiliary signal that were probed"]
    n_train_cells: Annotated[int | None, "Cells that fitted parameters, empty ones included (cells)"]
    n_nonempty_train_cells: Annotated[int | None, "Of those, cells with at least one count (cells)"] = None
    n_validation_cells: Annotated[int | None, "Cells for early stopping, on top of n_train_cells (cells)"] = None
    gap_bits: Annotated[float | None, "Overfitting of the probe: its value on seen minus on unseen pairs (bits)"] = None
    truth_bits: Annotated[
        float | None, "Information in simulated counts; bounds mi_bits; NULL for real cells (bits)"
    ] = None
    total_umis_per_cell: Annotated[
        float | None, "The same depth over all genes, where the data are a panel and their totals known (UMIs per cell)"
    ] = None
    n_shared_cells: Annotated[int | None, "Probe cells that are in train pool or validation; 0 unless published"] = None
    n_shared_groups: Annotated[int | None, "Groups of probe cells and partners that are there too; NULL: none"] = None
    n_shared_partners: Annotated[int | None, "Partners of probe cells that are there too; NULL: not paired"] = None
    flags: Flags
    diagnostics: Annotated[JsonObject, "What else the estimator reports; its keys depend on the estimator"]
    data_hash: Annotated[str, "Artifact of counts and split, kind data"]
    noised_hash: Annotated[str, "Artifact of the thinned counts, kind noised"]
    model_hash: Annotated[str, "Artifact of the model, kind model"]
    embedding_hash: Annotated[str, "Artifact of the embedding, kind embedding"]
    measurement_hash: Annotated[str, "Artifact of this estimate, kind measurement"]
    protocol: Protocol
    measured_at: Annotated[datetime, "When it was measured (UTC)"]
    recorded_at: Annotated[
        datetime | None, "When it replaced a later measurement, as the study asks for it again (UTC); else NULL"
    ] = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossNoiseMeasurementRow:
    """One estimate of a model that was trained at one noise level and probed at another; `measurement` has the rest."""

    study: Study
    task: Task
    model: Model
    n_cells: CellNumber
    train_level: Annotated[float, "Noise level of the cells that the model was trained on: probability q"]
    probe_level: Annotated[float, "Noise level of the probe cells that it embedded: probability q"]
    seed: Seed
    estimator: Estimator
    mi_bits: Annotated[float, "Mutual information between embedding and auxiliary signal (bits)"]
    low_bits: Annotated[float | None, "Lower end of the 95 % interval of mi_bits (bits)"]
    high_bits: Annotated[float | None, "Upper end of the 95 % interval of mi_bits (bits)"]
    floor_bits: Annotated[float | None, "The same estimate on shuffled pairs, where the truth is 0 (bits)"]
    ceiling_bits: Annotated[float | None, "Entropy of a categorical auxiliary signal, else NULL (bits)"]
    train_umis_per_cell: Annotated[float, "Realised depth of the probe cells at train_level (UMIs per cell)"]
    probe_umis_per_cell: Annotated[float, "Realised depth of the probe cells at probe_level (UMIs per cell)"]
    n_probe_cells: Annotated[int, "Probe cells, whether or not their auxiliary signal is known (cells)"]
    n_nonempty_probe_cells: Annotated[int | None, "Probe cells with at least one count at probe_level (cells)"]
    n_pairs: Annotated[int, "Pairs of embedding and known auxiliary signal that were probed"]
    n_train_cells: Annotated[int | None, "Cells that fitted parameters, empty ones included (cells)"]
    gap_bits: Annotated[float | None, "Overfitting of the probe: its value on seen minus on unseen pairs (bits)"] = None
    truth_bits: Annotated[
        float | None, "Information in simulated counts at probe_level; bounds mi_bits; NULL for real cells (bits)"
    ] = None
    n_shared_cells: Annotated[int | None, "Probe cells that are in train pool or validation; 0 unless published"]
    n_shared_groups: Annotated[int | None, "Groups of probe cells and partners that are there too; NULL: none"]
    n_shared_partners: Annotated[int | None, "Partners of probe cells that are there too; NULL: not paired"]
    flags: Flags
    diagnostics: Annotated[JsonObject, "What else the estimator reports; its keys depend on the estimator"]
    data_hash: Annotated[str, "Artifact of counts and split, kind data"]
    train_noised_hash: Annotated[str, "Artifact of the thinned counts at train_level, kind noised"]
    probe_noised_hash: Annotated[str, "Artifact of the thinned counts at probe_level, kind noised"]
    model_hash: Annotated[str, "Artifact of the model, kind model"]
    embedding_hash: Annotated[str, "Artifact of the embedding, kind embedding"]
    measurement_hash: Annotated[str, "Artifact of this estimate, kind measurement"]
    protocol: Protocol
    measured_at: Annotated[datetime, "When it was measured (UTC)"]
    recorded_at: Annotated[
        datetime | None, "When it replaced a later measurement, as the study asks for it again (UTC); else NULL"
    ] = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseLawRow:
    """The noise law (Eq. 1) fitted to one curve of information against depth."""

    study: Study
    task: Task
    model: Model
    n_cells: CellNumber
    estimator: Estimator
    protocol: Protocol
    is_headline: IsHeadline
    imax_bits: Annotated[float | None, "Imax: information at unlimited depth; NULL without a fit (bits)"]
    imax_low_bits: Annotated[float | None, "Lower end of the interval of imax_bits (bits)"]
    imax_high_bits: Annotated[float | None, "Upper end of the interval of imax_bits; may be Infinity (bits)"]
    ubar: Annotated[float | None, "Noise scale of the law; NULL without a fit (UMIs per cell)"]
    ubar_low: Annotated[float | None, "Lower end of the interval of ubar (UMIs per cell)"]
    ubar_high: Annotated[float | None, "Upper end of the interval of ubar; may be Infinity (UMIs per cell)"]
    target_label: Annotated[str | None, "What target_depth reaches, in words"] = None
    target_fraction: Annotated[float | None, "Fraction of imax_bits that target_depth reaches; NULL for other targets"]
    target_bits: Annotated[float | None, "Information at target_depth (bits)"] = None
    target_depth: Annotated[float | None, "Depth at which the target is reached (UMIs per cell)"]
    target_depth_low: Annotated[float | None, "Lower end of the interval of target_depth (UMIs per cell)"]
    target_depth_high: Annotated[
        float | None, "Upper end of the interval of target_depth; may be Infinity (UMIs per cell)"
    ]
    interval: Annotated[str | None, "What the intervals are: method and coverage depend on the protocol"] = None
    r2_seed_means: Annotated[float | None, "Explained share of the variance of the means over seeds"]
    r2_points: Annotated[float | None, "Explained share of the variance of the raw points"]
    residual_sd_bits: Annotated[float | None, "Standard deviation of the residuals of the fitted points (bits)"]
    n_points: Annotated[int, "Distinct measurements of the curve: one that only repeats over seeds counts once"]
    n_levels: Annotated[int, "Noise levels of the curve"]
    n_seeds: Annotated[int, "Seeds of the curve"]
    is_converged: Annotated[bool, "Whether the fit reached an optimum"]
    flags: Flags
    diagnostics: Annotated[JsonObject, "What else the fit reports: covariance, rival laws, held-out error"] = "{}"
    law_hash: Annotated[str, "Content hash of the curve and the settings of the fit"]
    fitted_at: Annotated[datetime, "When it was fitted (UTC)"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CellNumberLawRow:
    """The cell-number law (B3) fitted to one curve of information against training cells."""

    study: Study
    task: Task
    model: Model
    level: Level
    estimator: Estimator
    protocol: Protocol
    is_headline: IsHeadline
    umis_per_cell: Annotated[float, "Realised depth of this level: geometric mean over sizes and seeds (UMIs per cell)"]
    i_inf_bits: Annotated[float, "Information with infinitely many training cells (bits)"]
    i_inf_low_bits: Annotated[float, "Lower end of the interval of i_inf_bits (bits)"]
    i_inf_high_bits: Annotated[float, "Upper end of the interval of i_inf_bits; may be Infinity (bits)"]
    n_sat: Annotated[float, "Training cells at which 1 bit is missing; 0 where information does not rise (cells)"]
    n_sat_low: Annotated[float, "Lower end of the interval of n_sat (cells)"]
    n_sat_high: Annotated[float, "Upper end of the interval of n_sat; may be Infinity (cells)"]
    exponent: Annotated[float, "How fast the missing information falls with training cells"]
    exponent_low: Annotated[float, "Lower end of the interval of exponent"]
    exponent_high: Annotated[float, "Upper end of the interval of exponent; may be Infinity"]
    interval: Annotated[str, "What the intervals are: method and coverage depend on the protocol"]
    r2_seed_means: Annotated[float, "Explained share of the variance of the means over seeds"]
    r2_points: Annotated[float, "Explained share of the variance of the raw points"]
    residual_sd_bits: Annotated[float, "Standard deviation of the residuals of the fitted points (bits)"]
    n_points: Annotated[int, "Distinct measurements of the curve: one that only repeats over seeds counts once"]
    n_sizes: Annotated[int, "Training sizes of the curve"]
    n_seeds: Annotated[int, "Seeds of the curve"]
    is_converged: Annotated[bool, "Whether the fit reached an optimum"]
    flags: Flags
    diagnostics: Annotated[JsonObject, "What else the fit reports: covariance, lack of fit"] = "{}"
    law_hash: Annotated[str, "Content hash of the curve and the settings of the fit"]
    fitted_at: Annotated[datetime, "When it was fitted (UTC)"]


@dataclass(frozen=True, kw_only=True, slots=True)
class JointLawRow:
    """The joint law of depth and training cells fitted to the surface of one model, headline estimator."""

    study: Study
    task: Task
    model: Model
    estimator: Estimator
    protocol: Protocol
    form: Annotated[str, "Which joint law: J, or its rival H"]
    i_inf_bits: Annotated[float, "Information at unlimited depth with unlimited training cells (bits)"]
    i_inf_low_bits: Annotated[float, "Lower end of the interval of i_inf_bits (bits)"]
    i_inf_high_bits: Annotated[float, "Upper end of the interval of i_inf_bits (bits)"]
    ubar: Annotated[float, "Noise scale with unlimited training cells (UMIs per cell)"]
    ubar_low: Annotated[float, "Lower end of the interval of ubar (UMIs per cell)"]
    ubar_high: Annotated[float, "Upper end of the interval of ubar (UMIs per cell)"]
    n0: Annotated[float, "Scale of training cells (cells)"]
    n0_low: Annotated[float, "Lower end of the interval of n0 (cells)"]
    n0_high: Annotated[float, "Upper end of the interval of n0 (cells)"]
    exponent: Annotated[float, "How fast the noise of learning falls with training cells"]
    exponent_low: Annotated[float, "Lower end of the interval of exponent"]
    exponent_high: Annotated[float, "Upper end of the interval of exponent"]
    prior_decided: Annotated[Sequence[str], "Parameters that the prior decided, not the data"]
    r2_grid_cells: Annotated[float, "Explained share of the variance of the means of the grid cells"]
    r2_points: Annotated[float, "Explained share of the variance of the raw points"]
    residual_sd_bits: Annotated[float, "Standard deviation of the grid cells around the law (bits)"]
    n_grid_cells: Annotated[int, "Combinations of depth and training size that were measured"]
    n_points: Annotated[int, "Measurements"]
    n_seeds: Annotated[int, "Seeds"]
    is_converged: Annotated[bool, "Whether the fit reached an optimum"]
    flags: Flags
    diagnostics: Annotated[JsonObject, "Every parameter with its interval, whether the prior decided it"] = "{}"
    law_hash: Annotated[str, "Content hash of the surface and the settings of the fit"]
    fitted_at: Annotated[datetime, "When it was fitted (UTC)"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LawComparisonRow:
    """How well one law describes one curve of information against depth, headline estimator."""

    study: Study
    task: Task
    model: Model
    n_cells: CellNumber
    estimator: Estimator
    law: Annotated[str, "The law: the noise law itself, or one of its rivals"]
    n_parameters: Annotated[int, "Parameters of the law"]
    aicc: Annotated[float, "Akaike information, corrected for few levels; Infinity where levels do not suffice"]
    aicc_above_best: Annotated[float | None, "aicc less that of the best law of this curve"]
    weight: Annotated[float | None, "Akaike weight among the laws compared"]
    r2: Annotated[float, "Explained share of the variance of the means over seeds"]
    held_out_rmse_bits: Annotated[float, "Error of each level, predicted from all others; root mean square (bits)"]
    deepest_error_bits: Annotated[float, "Predicted less measured information at the deepest level (bits)"]
    n_levels: Annotated[int, "Noise levels of the curve"]
    is_converged: Annotated[bool, "Whether the fit reached an optimum"]
    law_hash: Annotated[str, "Content hash of the curve"]
    fitted_at: Annotated[datetime, "When it was fitted (UTC)"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelComparisonRow:
    """Two models of one task, compared seed by seed, headline estimator."""

    study: Study
    task: Task
    n_cells: CellNumber
    first_model: Annotated[str, "Model that is compared"]
    second_model: Annotated[str, "Model that it is compared with"]
    estimator: Estimator
    protocol: Protocol
    imax_difference_bits: Annotated[float, "Imax of the first less that of the second model (bits)"]
    imax_difference_low_bits: Annotated[float, "Lower end of the interval; may be -Infinity (bits)"]
    imax_difference_high_bits: Annotated[float, "Upper end of the interval; may be Infinity (bits)"]
    ubar_ratio: Annotated[float, "Noise scale of the first over that of the second model"]
    ubar_ratio_low: Annotated[float, "Lower end of the interval of ubar_ratio"]
    ubar_ratio_high: Annotated[float, "Upper end of the interval of ubar_ratio; may be Infinity"]
    target_depth_ratio: Annotated[float, "Target depth of the first over that of the second model"]
    target_depth_ratio_low: Annotated[float, "Lower end of the interval of target_depth_ratio"]
    target_depth_ratio_high: Annotated[float, "Upper end of the interval of target_depth_ratio; may be Infinity"]
    confidence: Annotated[float, "Coverage of the intervals"]
    n_seeds: Annotated[int, "Seeds that both models have"]
    flags: Flags
    law_hash: Annotated[str, "Content hash of both curves and the settings of the fits"]
    fitted_at: Annotated[datetime, "When it was fitted (UTC)"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AdviceRow:
    """The answer to one question of planning about one model, or why there is none; headline estimator."""

    study: Study
    task: Task
    model: Model
    n_cells: CellNumber
    question: Annotated[str, "target_depth, headroom, budget, cheapest, frontier or what_pays"]
    estimator: Estimator
    protocol: Protocol
    is_refused: Annotated[bool, "Whether the data cannot say"]
    sentence: Annotated[str, "The answer in words; of a refusal, what was found and what to do"]
    reason: Annotated[str, "Of a refusal: why, in one clause"]
    quantity: Annotated[str | None, "The first number of the answer, by name; estimates holds all"]
    unit: Annotated[str | None, "Unit of value"]
    value: Annotated[float | None, "The first number of the answer"]
    value_low: Annotated[float | None, "Lower end of the interval of value"]
    value_high: Annotated[float | None, "Upper end of the interval of value; may be Infinity"]
    estimates: Annotated[JsonObject, "All numbers of the answer by name, with unit and interval"]
    plans: Annotated[JsonObject, "Of the frontier: cells, depth and bits by budget"]
    flags: Flags
    law_hash: Annotated[str, "Content hash of the curves and the settings of laws and planning"]
    advised_at: Annotated[datetime, "When it was worked out (UTC)"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    """One attempt to measure one cell of the grid with one seed, in one worker process."""

    run_id: Annotated[str, "The attempt; unique"]
    study: Study
    task: Task
    model: Model
    n_cells: CellNumber
    level: Level
    seed: Seed
    status: Annotated[Literal["succeeded", "failed", "reused"], "How it ended; reused: all was stored already"]
    reason: Annotated[str, "Why it ended so, in words; the error's message when it failed"] = ""
    seconds: Annotated[float | None, "Wall time of the worker (s)"] = None
    cpu_seconds: Annotated[float | None, "Processor time of the worker and its children (s)"] = None
    peak_memory_mib: Annotated[float | None, "Largest memory of the worker on the host (MiB)"] = None
    peak_device_memory_mib: Annotated[float | None, "Largest memory on one GPU; 0 on the CPU (MiB)"] = None
    device: Annotated[str | None, "Device that trained: cpu, or the name of the GPU"] = None
    n_devices: Annotated[int | None, "Devices that trained together"] = None
    dtype: Annotated[str | None, "Number format of training: float64, float32, bfloat16"] = None
    n_threads: Annotated[int | None, "Threads that the worker was given"] = None
    training_seconds: Annotated[float | None, "Wall time of training, maybe of an earlier attempt (s)"] = None
    steps: Annotated[int | None, "Optimiser steps; 0 for a closed form"] = None
    epochs: Annotated[float | None, "Passes over the training cells; 0 for a closed form"] = None
    stop_reason: Annotated[str | None, "Why training stopped, e.g. early stopping, all steps"] = None
    n_parameters: Annotated[int | None, "Numbers that map a cell to its embedding, fitted or drawn"] = None
    losses: Annotated[JsonObject | None, "Loss curves by name, one value an epoch or evaluation"] = None
    host: Annotated[str | None, "Machine that the worker ran on"] = None
    library_versions: Annotated[JsonObject, "Versions of the libraries that decide numbers"] = "{}"
    started_at: Annotated[datetime | None, "When the worker started (UTC)"] = None
    finished_at: Annotated[datetime, "When it ended (UTC)"]
    dagster_run_id: Annotated[str | None, "Dagster run that asked for it; NULL outside Dagster"] = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRow:
    """One study: what was asked for."""

    study: Study
    description: Annotated[str, "The study in words"] = ""
    definition: Annotated[str, "The study as TOML, every default written out"]
    protocol: Protocol
    n_grid_cells: Annotated[int, "Attempts that the grid asks for: tasks x models x sizes x levels x seeds"]
    n_seeds: Annotated[int, "Replicates of every cell of the grid"]
    registered_at: Annotated[datetime, "When this definition was registered (UTC)"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationRow:
    """What an estimator finds in samples of one problem of known information; means over the seeds."""

    settings_hash: Annotated[str, "Content hash of how the estimator measures: its settings, version of the code"]
    estimator: Estimator
    problem: Annotated[str, "Distribution of pairs with known mutual information"]
    n_pairs: Annotated[int, "Pairs of each sample"]
    family: Annotated[str, "What the problem is like, e.g. gaussian, ties, classes, curved"]
    is_fresh: Annotated[bool, "Whether the estimators were made without looking at this problem"]
    is_categorical: Annotated[bool, "Whether the auxiliary signal is classes, else columns of numbers"]
    n_seeds: Annotated[int, "Samples of the problem"]
    truth_bits: Annotated[float, "Mutual information of the problem (bits)"]
    mi_bits: Annotated[float, "Estimate of the mutual information (bits)"]
    bias_bits: Annotated[float, "mi_bits minus truth_bits (bits)"]
    sd_bits: Annotated[float, "Standard deviation of the estimate over the seeds; 0 for one seed (bits)"]
    low_bits: Annotated[float, "Lower end of the interval of the estimate (bits)"]
    high_bits: Annotated[float, "Upper end of the interval of the estimate (bits)"]
    median_width_bits: Annotated[float, "Median over the seeds of the interval's width (bits)"]
    floor_bits: Annotated[float, "The same estimate on shuffled pairs, where the truth is 0 (bits)"]
    gap_bits: Annotated[float | None, "Overfitting: the estimator's value on seen minus on unseen pairs (bits)"]
    beyond_gaussian_bits: Annotated[float | None, "What the estimator found beyond linear dependence (bits)"]
    holds_share: Annotated[float, "Share of the intervals that hold truth_bits"]
    above_low_share: Annotated[float, "Share of the intervals whose lower end truth_bits is not below"]
    unreliable_share: Annotated[float, "Share of the estimates with the flag unreliable"]
    cpu_seconds: Annotated[float, "Processor time of one estimate on one core (s)"]
    calibrated_at: Annotated[datetime, "When it was measured (UTC)"]


Row = (
    MeasurementRow
    | CrossNoiseMeasurementRow
    | NoiseLawRow
    | CellNumberLawRow
    | JointLawRow
    | LawComparisonRow
    | ModelComparisonRow
    | AdviceRow
    | RunRow
    | StudyRow
    | CalibrationRow
)
