"""The commands and their options. What they do is in the modules beside this one."""

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args

import click

from nsl_assets.cli.derive import Request
from nsl_assets.cli.file_task import TASKS, FileTaskOptions
from nsl_assets.probing import NUMBERS_OF_PAIRS, EstimatorName, ProbingSettings

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="nsl", prog_name="nsl")
def nsl() -> None:
    """Sequence deeper, profile more cells, or change the model?

    Trains representation models on counts thinned to many noise levels, measures in bits what each keeps about a
    signal that it never saw, and fits the law behind it.
    """


def _common(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")(command)
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")(command)


def _names(_context: click.Context, _option: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def _probe_levels(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> tuple[float, ...] | Literal["all"] | None:
    if text is None:
        return None
    if text == "all":
        return "all"
    try:
        return tuple(float(level) for level in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither 'all' nor a list of noise levels, as 1,0.1 is.") from None


def _file_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that describe the user's own file."""
    options = [
        click.option("--auxiliary", help="The hidden signal: obs:KEY (one column) or obsm:KEY (many columns)."),
        click.option("--layer", help="The layer of raw counts; default X."),
        click.option("--group", help="obs column whose groups stay together in the split: donor, embryo, clone."),
        click.option("--task", type=click.Choice(list(TASKS)),
                     help="Kind of task.  [default: classes or numbers, by what the auxiliary holds]"),
        click.option("--unknown", callback=_names, help="Classes or stages that mean 'not known': their cells train."),
        click.option("--stages", callback=_names, help="time: all stages, the earliest first: 300,400,500."),
        click.option("--clone", help="clonal: column of clones, obs:KEY."),
        click.option("--time", help="clonal: column of time points, obs:KEY."),
        click.option("--early", callback=_names, help="clonal: time points of the cell that is embedded: 2,4."),
        click.option("--late", callback=_names, help="clonal: time points of its partner: 6."),
        click.option("--coordinates", help="spatial: where cells are, obsm:KEY.  [default: obsm:spatial]"),
        click.option("--section", help="spatial: column of sections or samples, obs:KEY."),
        click.option("--neighbours", type=click.IntRange(1, 100),
                     help="spatial: the partner is one of so many nearest cells.  [default: 5]"),
        click.option("--blocks", type=click.IntRange(10, 100_000),
                     help="spatial: blocks of tissue that the split keeps whole.  [default: 64]"),
        click.option("--paired-auxiliary", type=click.Choice(["fixed", "same_model"]),
                     help="clonal, spatial: the partner at the measured depth, or its embedding at the same noise."),
        click.option("--reference-components", type=click.IntRange(1, 512),
                     help="clonal, spatial: principal components of the partner.  [default: 16]"),
        click.option("--total-umis", help="For a panel: UMIs per cell over all genes, obs:KEY, or a factor."),
        click.option("--probe-fraction", type=float, help="Share of cells (clonal: of clones) that is measured."),
        click.option("--sha256", help="Refuse the file where its content has another SHA-256."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def _study_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options from which a study for the user's own file is made."""
    options = [
        click.option("--models", callback=_names,
                     help="Models, separated by commas.  [default: random_projection,pca]"),
        click.option("--budget", type=click.Choice(["paper", "quick"]),
                     help="Training of scvi and geneformer: as published, or few steps for a CPU.  [default: paper]"),
        click.option("--levels", "n_levels", type=click.IntRange(3, 100),
                     help="Number of noise levels, from the measured depth down to 2.5 % of it.  [default: 6]"),
        click.option("--probe-levels", callback=_probe_levels,
                     help="Noise levels at which every model is probed beside its own: 1,0.1, or all."),
        click.option("--sizes", "n_sizes", type=click.IntRange(1, 100),
                     help="Number of training sizes, from all training cells down.  [default: 1]"),
        click.option("--seeds", "n_seeds", type=click.IntRange(1, 1_000), help="Replicates.  [default: 3]"),
        click.option("--protocol", type=click.Choice(["corrected", "published"]),
                     help="As science has it, or as the paper did.  [default: corrected]"),
        click.option("--name", help="Name of the study; default: from file and signal."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return _file_options(command)


def _request(h5ad: Path | None, study: str | None, options: dict[str, Any]) -> Request | None:
    """The study asked for by file, with STUDY as its template; None where a study is run as it is."""
    if h5ad is None:
        given = [
            f"--{option.removeprefix('n_').replace('_', '-')}" for option, value in options.items() if value is not None
        ]
        if study is not None and given:
            raise click.UsageError(
                f"{', '.join(given)} shape a study of a file (--h5ad): edit study '{study}' instead."
            )
        return None
    if not (options["auxiliary"] or options["task"]):
        raise click.UsageError("--h5ad needs --auxiliary obs:KEY or obsm:KEY: the signal that models never see.")
    return Request(h5ad=h5ad, template=study, task=_task_options(options), **options)


def _task_options(options: dict[str, Any]) -> FileTaskOptions:
    """The options that describe the task, taken out of all options."""
    return FileTaskOptions(**{field.name: options.pop(field.name) for field in fields(FileTaskOptions)})


@nsl.command(context_settings=CONTEXT)
@click.argument("file", type=click.Path(path_type=Path))
@_file_options
@_common
def check(file: Path, auxiliary: str | None, as_json: bool, **options: Any) -> None:
    """Look at FILE before anything runs: one line a finding, exit 1 when it cannot run.

    \b
    nsl check pbmc.h5ad --auxiliary obsm:protein
    nsl check worm.h5ad --task time --auxiliary obs:stage --stages 300,400,500 --group embryo
    nsl check larry.h5ad --task clonal --clone obs:clone --time obs:day --early 2,4 --late 6
    nsl check brain.h5ad --task spatial --coordinates obsm:spatial
    """
    from nsl_assets.cli.check import check_file

    if not (auxiliary or options["task"]):
        raise click.UsageError("name the hidden signal: --auxiliary obs:KEY or obsm:KEY.")
    raise SystemExit(check_file(file, auxiliary, _task_options(options), as_json=as_json))


@nsl.command(context_settings=CONTEXT)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--instance-only", is_flag=True, hidden=True, help="Only make the Dagster instance.")
@_study_options
@_common
def init(file: Path | None, instance_only: bool, as_json: bool, **options: Any) -> None:
    """Write a commented study file for FILE, to be edited and run."""
    from nsl_assets.cli.init import init_study
    from nsl_assets.cli.instance import init_instance

    if instance_only:
        init_instance()
        return
    request = _request(file, None, options)
    if request is None:
        raise click.UsageError("name the .h5ad file that the study is about.")
    init_study(request, as_json=as_json)


@nsl.command(context_settings=CONTEXT)
@click.argument("study", required=False)
@click.option("--h5ad", type=click.Path(path_type=Path), help="Plan a study of this file.")
@_study_options
@_common
def plan(study: str | None, h5ad: Path | None, as_json: bool, **options: Any) -> None:
    """Say what a study would cost: cells of the grid, time, memory and disk. Nothing runs.

    With STUDY and --h5ad: the grid of STUDY on your file, e.g. nsl plan paper_grid --h5ad FILE --auxiliary KEY.
    """
    from nsl_assets.cli.run import plan_only

    plan_only(study, _request(h5ad, study, options), as_json=as_json)


@nsl.command(context_settings=CONTEXT)
@click.argument("study", required=False)
@click.option("--h5ad", type=click.Path(path_type=Path), help="Run a study of this file.")
@click.option("--dry-run", is_flag=True, help="Check and plan; run nothing.")
@_study_options
@_common
def run(study: str | None, h5ad: Path | None, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Run STUDY, or a study of your own file: nsl run --h5ad FILE --auxiliary obs:cell_type.

    With STUDY and --h5ad: the models, noise levels and seeds of STUDY, on your file.

    Only what is missing or changed is computed: after an interruption, the same command goes on.
    """
    from nsl_assets.cli.run import plan_only, run_study

    request = _request(h5ad, study, options)
    if dry_run:
        plan_only(study, request, as_json=as_json)
        return
    raise SystemExit(run_study(study, request, as_json=as_json))


@nsl.command(context_settings=CONTEXT)
@click.argument("study", required=False)
@_common
def status(study: str | None, as_json: bool) -> None:
    """Show what is done, what failed and why, what is left and how long it will take."""
    from nsl_assets.cli.status import show_status

    show_status(study, as_json=as_json)


@nsl.command(context_settings=CONTEXT)
@click.option("--watch", is_flag=True, help="Show it anew every second, until Ctrl-C.")
@_common
def gpu(watch: bool, as_json: bool) -> None:
    """Show GPUs and host: what is used and by whom, workers with their leases, who waits for what, predictions.

    Without a GPU it shows the host. --json prints one snapshot.
    """
    from nsl_assets.cli.gpu import show_gpu

    show_gpu(is_watching=watch, as_json=as_json)


def _numbers(_context: click.Context, _option: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else tuple(int(number) for number in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of whole numbers, as 500,2000,10000 is.") from None


def _device(_context: click.Context, _option: click.Parameter, text: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", text):
        raise click.BadParameter(f"{text!r} is none of cpu, cuda and cuda:NUMBER.")
    return text


def _mi_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of an estimate of mutual information."""
    names, default = get_args(EstimatorName), ProbingSettings().headline
    options = [
        click.option("--estimator", "estimators", multiple=True, type=click.Choice([*names, "all"]),
                     help=f"How to estimate; can be given several times.  [default: {default}]"),
        click.option("--seed", default=0, show_default=True, help="Another seed draws other folds and networks."),
        click.option("--group", help="A column of donors, embryos or clones: they stay on one side of every split."),
        click.option("--y-kind", default="auto", show_default=True,
                     type=click.Choice(["auto", "classes", "continuous"]),
                     help="auto: one column of text, categories or few whole numbers is classes."),
        click.option("--drop-missing", "is_missing_dropped", is_flag=True,
                     help="Leave pairs out whose Y or group is unknown."),
        click.option("--device", default="cpu", show_default=True, callback=_device,
                     help="Where networks train: cpu, cuda or cuda:NUMBER."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@nsl.command(context_settings=CONTEXT)
@click.argument("x")
@click.argument("y")
@_mi_options
@_common
def mi(as_json: bool, **options: Any) -> None:
    """Estimate the mutual information of the arrays X and Y, in bits.

    X, Y and the group are each FILE.npy, FILE.csv, FILE.parquet, FILE.csv:COLUMN[,COLUMN], FILE.h5ad:obsm:KEY or
    FILE.h5ad:obs:COLUMN; obsm:KEY or obs:COLUMN alone is of the same .h5ad as X. Rows are paired by cell name, or
    in their order where a file has no names.

    \b
    nsl mi cells.h5ad:obsm:X_pca obs:cell_type --group obs:donor
    nsl mi embedding.npy proteins.csv --estimator all --json
    """
    from nsl_assets.cli.mi import MiRequest, measure_information

    measure_information(MiRequest(**options), as_json=as_json)


def _calibrate_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of the calibration: which estimators, on which problems, how often."""
    default = ",".join(map(str, NUMBERS_OF_PAIRS))
    options = [
        click.option("--study", help="Calibrate the estimators with the settings of this study.  [default: defaults]"),
        click.option("--estimators", callback=_names,
                     help="Estimators, separated by commas.  [default: those of the study]"),
        click.option("--pairs", callback=_numbers, help=f"Numbers of pairs.  [default: {default}]"),
        click.option("--problems", callback=_names, help="Only these problems."),
        click.option("--families", callback=_names, help="Only problems of these families: gaussian, ties, …"),
        click.option("--seeds", "n_seeds", type=click.IntRange(1, 1_000), help="Samples a problem.  [default: 5]"),
        click.option("--quick", "is_quick", is_flag=True, help="A first look: 2 samples of 500 and of 2,000 pairs."),
        click.option("--again", "is_again", is_flag=True, help="Measure also what is in the table already."),
        click.option("--workers", "n_workers", type=click.IntRange(1, 1_000),
                     help="Processes at a time.  [default: cores, where memory suffices]"),
        click.option("--csv", type=click.Path(path_type=Path, dir_okay=False),
                     help="Also write the rows to this file."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@nsl.command(context_settings=CONTEXT)
@_calibrate_options
@_common
def calibrate(as_json: bool, **options: Any) -> None:
    """Try the estimators on problems of known mutual information: bias, spread, coverage, time.

    Rows land in table `calibration`; the report of a study then says what bias to expect of its curves. Only what
    is not in the table is measured: after an interruption, the same command goes on.

    \b
    nsl calibrate --quick --estimators pooled
    nsl calibrate --study quickstart --families gaussian,classes --pairs 1200
    """
    from nsl_assets.cli.calibrate import CalibrateRequest, calibrate_estimators

    calibrate_estimators(CalibrateRequest(**options), as_json=as_json)


def _table_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say which columns of a table hold what."""
    options = [
        click.option("--x", help="Column of the depth.  [default: umis_per_cell]"),
        click.option("--y", help="Column of the information in bits.  [default: mi_bits]"),
        click.option("--by", callback=_names,
                     help="Columns that tell curves apart.  [default: those of study, dataset, task, model, n_cells, "
                     "estimator that there are]"),
        click.option("--level", help="Column of the noise level.  [default: level, quality or noise_level]"),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def _law_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of the laws and of the depth that is asked for."""
    options = [
        click.option("--protocol", type=click.Choice(["corrected", "published"]),
                     help="As science has it, or as the paper did.  [default: corrected]"),
        click.option("--target", type=float, help="Depth for this fraction of Imax.  [default: 0.9]"),
        click.option("--bits-below", type=float, help="Depth for so many bits below Imax, instead of a fraction."),
        click.option("--confidence", type=float, help="Coverage of the intervals.  [default: 0.95]"),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@nsl.command(context_settings=CONTEXT)
@click.argument("table", type=click.Path(path_type=Path))
@click.option(
    "--law",
    default="noise",
    show_default=True,
    type=click.Choice(["noise", "cells", "joint"]),
    help="Noise law of each curve, cell-number law of each level, or joint law of each model.",
)
@_table_options
@_law_options
@_common
def fit(table: Path, law: Any, as_json: bool, **options: Any) -> None:
    """Fit a law to every curve of TABLE: anybody's measurements, as .csv, .tsv or .parquet, one row a measurement.

    A curve that cannot be fitted says why and stops no other. Exit 1 where none could be fitted.

    \b
    nsl fit measurements.csv
    nsl fit measurements.csv --protocol published --by task,model,n_cells --json
    """
    from nsl_assets.cli.fit import fit_table
    from nsl_assets.cli.law_request import law_settings, table_columns

    raise SystemExit(fit_table(table, law, table_columns(law, options), law_settings(options), as_json=as_json))


def _planning_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say what an experiment costs, and how reads become UMIs."""
    options = [
        click.option("--price-per-cell", type=float, help="Money for one profiled cell, without its reads."),
        click.option("--price-per-read", type=float, help="Money for one read."),
        click.option("--fixed-price", type=float, help="Money for the experiment whatever its size."),
        click.option("--currency", help="Written behind amounts of money."),
        click.option("--budget", type=float, help="Money for the whole experiment."),
        click.option("--bits", "wanted_bits", type=float, help="Information that the cheapest plan must reach."),
        click.option("--reads-per-cell", type=float, help="Mean reads per cell of a run like this one."),
        click.option("--total-umis-per-cell", type=float, help="Mean UMIs per cell, of all genes, of that run."),
        click.option("--sequencing-saturation", type=float, help="Share of repeated reads of that run, instead."),
        click.option("--library-complexity", type=float, help="Molecules in the library of a cell, instead of both."),
        click.option("--panel-share", type=float, help="Share of all UMIs in the genes of the data, for a panel."),
        click.option("--n-cells", type=int, help="Today's training cells.  [default: the largest size]"),
        click.option("--umis-per-cell", type=float, help="Today's depth.  [default: the deepest level]"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


LAW_OPTIONS = ("protocol", "target", "bits_below", "confidence")
TABLE_OPTIONS = ("x", "y", "by", "level")


@nsl.command(context_settings=CONTEXT)
@click.argument("source", metavar="STUDY|TABLE")
@_planning_options
@_law_options
@_table_options
@_common
def advise(source: str, as_json: bool, **options: Any) -> None:
    """Say what depth, how many cells and which model pay: for a STUDY, or a TABLE of measurements (see nsl fit).

    Every answer has an interval; where the data cannot say, it says what to measure.

    \b
    nsl advise my_study --target 0.9
    nsl advise measurements.csv --price-per-cell 0.1 --price-per-read 2e-6 --budget 10000 \\
        --reads-per-cell 30000 --total-umis-per-cell 9000
    """
    from nsl_assets.cli.advise import advise_source
    from nsl_assets.cli.law_request import law_settings, measured_source, planning_settings, table_columns

    of_laws = {name: options.pop(name) for name in LAW_OPTIONS}
    measured = measured_source(source, table_columns("joint", {name: options.pop(name) for name in TABLE_OPTIONS}))
    laws, planning = law_settings(of_laws, measured.study), planning_settings(options, measured.study)
    raise SystemExit(advise_source(measured, laws, planning, as_json=as_json))


@nsl.command(context_settings=CONTEXT)
@click.argument("source", required=False)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the report.  [default: reports/NAME in the storage folder]",
)
@_table_options
@_law_options
@_common
def report(source: str | None, output: Path | None, as_json: bool, **options: Any) -> None:
    """Write the report of SOURCE, a study or a table of measurements (.csv, .tsv, .parquet), as one HTML page.

    The page needs nothing else; figures as SVG and PDF, and numbers as CSV, lie beside it. Without SOURCE: the only
    study that has results.

    \b
    nsl report quickstart
    nsl report measurements.csv --output my_report
    """
    from nsl_assets.cli.report import write_and_show

    write_and_show(source, options, output=output, as_json=as_json)


@nsl.command(context_settings=CONTEXT)
@click.argument("query")
@_common
def sql(query: str, as_json: bool) -> None:
    """Run one read-only SQL QUERY on the results, e.g. "select * from noise_law"."""
    from nsl_assets.cli.sql import run_sql

    run_sql(query, as_json=as_json)


@nsl.command(context_settings=CONTEXT)
@click.option("--dry-run", is_flag=True, help="List what can go, with the reason; remove nothing.")
@click.option("--study", help="Only artifacts that the rows of this study name.")
@_common
def gc(dry_run: bool, study: str | None, as_json: bool) -> None:
    """Remove what nobody needs from the storage: artifacts of no known study, leftovers, superseded rows.

    A study is known while it stands in the project file or in the storage. What a running worker uses stays.
    """
    from nsl_assets.cli.gc import collect_garbage

    collect_garbage(study, is_dry_run=dry_run, as_json=as_json)


@nsl.command("export", context_settings=CONTEXT)
@click.argument("study")
@click.argument("folder", type=click.Path(path_type=Path))
@_common
def export_command(study: str, folder: Path, as_json: bool) -> None:
    """Write STUDY with all its rows into FOLDER, a new one: Parquet files, the definition, a manifest.

    No artifacts are needed. Elsewhere: nsl import FOLDER.
    """
    from nsl_assets.cli.transfer import export_study

    export_study(study, folder, as_json=as_json)


@nsl.command("import", context_settings=CONTEXT)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", help="Import the study under this name.  [default: its own]")
@_common
def import_command(folder: Path, name: str | None, as_json: bool) -> None:
    """Read the study that nsl export wrote into FOLDER: then it can be reported, advised on and queried here.

    Every file is checked before anything lands. The same study again changes nothing.
    """
    from nsl_assets.cli.transfer import import_study

    import_study(folder, name, as_json=as_json)


@nsl.group(context_settings=CONTEXT)
def data() -> None:
    """Public data sets by name: list them, fetch one as an .h5ad file, say where it is."""


_DATA_CONTEXT = {**CONTEXT, "ignore_unknown_options": True}
_data_options = click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[--OPTION VALUE]...")


@data.command("list", context_settings=CONTEXT)
@_common
def list_data(as_json: bool) -> None:
    """List the public data sets: what they are, their licence, and what is left to fetch."""
    from nsl_assets.cli.data import list_data_sets

    list_data_sets(as_json=as_json)


@data.command("fetch", context_settings=_DATA_CONTEXT)
@click.argument("name")
@_data_options
@_common
def fetch_data(name: str, options: tuple[str, ...], as_json: bool) -> None:
    """Download data set NAME, check it, make its .h5ad file, and print where that is.

    An interrupted download is gone on with. Files that were put into the folder by hand are checked and used.

    \b
    nsl data fetch larry
    nsl data fetch larry --inversion truncated
    nsl data fetch embryo --max-cells 1000000
    """
    from nsl_assets.cli.data import fetch_data_set

    fetch_data_set(name, options, as_json=as_json)


@data.command("where", context_settings=_DATA_CONTEXT)
@click.argument("name")
@_data_options
@_common
def where_data(name: str, options: tuple[str, ...], as_json: bool) -> None:
    """Print where the .h5ad file of data set NAME is. Exit 1 where it is not there yet."""
    from nsl_assets.cli.data import show_place

    raise SystemExit(show_place(name, options, as_json=as_json))


@data.command("study", context_settings=CONTEXT)
@click.argument("name")
@click.option("--protocol", type=click.Choice(["corrected", "published"]), default="corrected", show_default=True,
              help="As science has it, or as the paper did.")  # fmt: skip
@_common
def study_data(name: str, protocol: Any, as_json: bool) -> None:
    """Write the paper's study of data set NAME: ten sizes, ten noise levels, four models, three seeds."""
    from nsl_assets.cli.paper_study import write_paper_study

    write_paper_study(name, protocol, as_json=as_json)
