"""Each loader on small files of the published formats: what it writes, and how it refuses what is damaged."""

import gzip
import hashlib
import multiprocessing
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse

from nsl_assets.datasets import DATA_SETS, DataSet, DownloadError, fetch, options_of, place
from nsl_assets.datasets.progress import silent
from nsl_assets.errors import InputError
from nsl_assets.randomness import generator

N_CELLS = 60
GENES = [f"Gene{i}" for i in range(40)]


def load(name: str, data: Path, *, shape: tuple[int | None, int | None] = (None, None), **options):
    """The data set made from the files in its folder, as AnnData."""
    one = replace(DATA_SETS[name], n_cells=shape[0], n_genes=shape[1])
    return anndata.read_h5ad(fetch(one, options_of(one, options), data, silent))


def counts_of(n_cells: int, n_genes: int) -> np.ndarray:
    return generator("loaders", n_cells).poisson(3.0, (n_cells, n_genes))


def write_gz(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def write_mtx_gz(path: Path, matrix: np.ndarray) -> None:
    plain = path.with_suffix("")
    plain.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.mmwrite(plain, scipy.sparse.coo_array(matrix))
    write_gz(path, plain.read_text())
    plain.unlink()


# ---- LARRY


@pytest.fixture
def larry(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """The four files of the data set, and the counts behind them."""
    folder = tmp_path / "larry"
    counts = counts_of(N_CELLS, len(GENES))
    totals = counts.sum(axis=1, keepdims=True)
    write_mtx_gz(folder / "stateFate_inVitro_normed_counts.mtx.gz", np.round(counts / totals * totals.mean(), 7))
    write_gz(folder / "stateFate_inVitro_gene_names.txt.gz", "\n".join(GENES) + "\n")
    membership = np.zeros((N_CELLS, 5))
    membership[np.arange(40), np.arange(40) % 4] = 1
    membership[39, [0, 1]] = 1
    write_mtx_gz(folder / "stateFate_inVitro_clone_matrix.mtx.gz", membership)
    write_cells(folder)
    return tmp_path, counts


def write_cells(folder: Path, n_cells: int = N_CELLS, day: str = "6.0") -> None:
    header = "Library\tCell barcode\tTime point\tStarting population\tCell type annotation\tWell\tSPRING-x\tSPRING-y"
    days = ["2.0", "4.0", *[day] * n_cells]
    rows = [f"d{i % 2}\tACGT-{i}\t{days[i]}\tLK\tMonocyte\t0\t1.5\t2.5" for i in range(n_cells)]
    write_gz(folder / "stateFate_inVitro_metadata.txt.gz", "\n".join([header, *rows]) + "\n")


def test_larry_counts_are_recovered_and_cells_described(larry):
    data, counts = larry
    made = load("larry", data)
    np.testing.assert_array_equal(made.X.toarray(), counts)
    assert made.X.dtype == np.int32
    assert made.obs["day"].tolist()[:3] == [2.0, 4.0, 6.0]
    assert made.obs["clone"].astype(str).tolist()[:5] == ["0", "1", "2", "3", "0"]
    assert made.obs["clone"].isna().tolist() == [False] * 36 + [False] * 3 + [True] * 21
    assert made.obs_names[1] == "d1:ACGT-1"
    assert made.var_names.tolist() == GENES


def test_larry_provenance_names_sources_checksums_and_switches(larry):
    data, _ = larry
    noted = load("larry", data).uns["nsl"]
    matrix = data / "larry" / "stateFate_inVitro_normed_counts.mtx.gz"
    assert hashlib.sha256(matrix.read_bytes()).hexdigest() in noted["sources"]
    assert '"inversion": "rounded"' in noted["recipe"]
    assert "aaw3381" in noted["citation"]
    assert noted["n_cells_in_several_clones"] == "1"


def test_larry_as_published_is_another_file_with_truncated_counts(larry):
    data, counts = larry
    rounded, truncated = load("larry", data), load("larry", data, inversion="truncated")
    lost = counts.sum() - truncated.X.sum()
    assert 0 < lost < 0.5 * counts.sum()
    assert rounded.X.sum() == counts.sum()
    assert (data / "larry" / "larry-inversion=truncated.h5ad").is_file()


def test_larry_values_that_are_no_counts_are_refused_with_cell_and_gene(larry):
    data, counts = larry
    values = np.log1p(counts)
    write_mtx_gz(data / "larry" / "stateFate_inVitro_normed_counts.mtx.gz", values)
    with pytest.raises(InputError, match=r"normed_counts.mtx.gz: the values of cell d\d:ACGT-\d+ .* gene Gene\d+ "):
        load("larry", data)
    assert not list((data / "larry").glob("*.h5ad"))
    assert not list((data / "larry").glob(".*.tmp"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: write_cells(folder, N_CELLS - 1), "60 x 40; .* describe 59 cells and 40 genes"),
        (lambda folder: write_cells(folder, day="late"), "the time point of record 3 is 'late'"),
        (lambda folder: write_gz(folder / "stateFate_inVitro_metadata.txt.gz", "a\tb\n1\t2\n"), "no column 'Library'"),
        (lambda folder: cut(folder / "stateFate_inVitro_normed_counts.mtx.gz"), "normed_counts.mtx.gz cannot be read"),
        (lambda folder: cut(folder / "stateFate_inVitro_metadata.txt.gz"), "metadata.txt.gz cannot be read"),
        (lambda folder: cut(folder / "stateFate_inVitro_gene_names.txt.gz"), "gene_names.txt.gz cannot be read"),
        (
            lambda folder: write_gz(folder / "stateFate_inVitro_clone_matrix.mtx.gz", "hello"),
            "clone_matrix.mtx.gz cannot",
        ),
    ],
)
def test_larry_files_that_are_damaged_or_do_not_belong_together_are_named(larry, damage, said):
    data, _ = larry
    damage(data / "larry")
    with pytest.raises(InputError, match=said):
        load("larry", data)


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_another_experiment_of_the_same_format_is_refused(larry):
    data, _ = larry
    with pytest.raises(InputError, match=r"60 cells; the data set 'larry' has 130,887"):
        load("larry", data, shape=(130_887, 25_289))


# ---- MERFISH


def merfish_tables(n_cells: int = 30, n_genes: int = 483) -> tuple[pd.DataFrame, pd.DataFrame]:
    names = [f"{10**38 + 7919 * i}" for i in range(n_cells)]
    columns = [f"G{i}" for i in range(n_genes)] + [f"Blank-{i}" for i in range(166)]
    counts = pd.DataFrame(counts_of(n_cells, len(columns)).astype(float), index=names, columns=columns)
    place_of = generator("place").uniform(0, 9000, (n_cells, 2))
    cells = pd.DataFrame(
        {"fov": 1, "volume": 900.5, "center_x": place_of[:, 0], "center_y": place_of[:, 1]}, index=names
    )
    return counts, cells


def write_merfish(data: Path, counts: pd.DataFrame, cells: pd.DataFrame, prefix: str = "") -> Path:
    folder = data / "merfish"
    folder.mkdir(exist_ok=True)
    counts.to_csv(folder / f"{prefix}cell_by_gene_S1R1.csv")
    cells.to_csv(folder / f"{prefix}cell_metadata_S1R1.csv")
    return folder


def test_merfish_has_no_blanks_and_its_cells_have_their_places(tmp_path):
    counts, cells = merfish_tables()
    write_merfish(tmp_path, counts, cells.sample(frac=1, random_state=1))
    made = load("merfish", tmp_path)
    assert made.shape == (30, 483)
    np.testing.assert_array_equal(made.X.toarray(), counts.to_numpy()[:, :483])
    np.testing.assert_allclose(made.obsm["spatial"], cells[["center_x", "center_y"]].to_numpy())
    assert made.obs_names.tolist() == counts.index.tolist()


def test_merfish_with_blanks_has_all_columns(tmp_path):
    write_merfish(tmp_path, *merfish_tables())
    assert load("merfish", tmp_path, keep_blanks=True).shape == (30, 649)


def test_merfish_files_are_found_under_their_long_names(tmp_path):
    prefix = "datasets_mouse_brain_map_BrainReceptorShowcase_Slice1_Replicate1_"
    write_merfish(tmp_path, *merfish_tables(), prefix=prefix)
    assert load("merfish", tmp_path).n_obs == 30


def test_merfish_in_several_blocks_is_the_same(tmp_path, monkeypatch):
    counts, cells = merfish_tables()
    write_merfish(tmp_path, counts, cells)
    monkeypatch.setattr("nsl_assets.datasets.merfish._BLOCK_CELLS", 7)
    np.testing.assert_array_equal(load("merfish", tmp_path).X.toarray(), counts.to_numpy()[:, :483])


def test_merfish_of_another_panel_is_refused(tmp_path):
    write_merfish(tmp_path, *merfish_tables(n_genes=500))
    with pytest.raises(InputError, match="500 genes besides 166 blanks; the panel has 483"):
        load("merfish", tmp_path)


def with_value(value: object):
    counts, cells = merfish_tables()
    counts = counts.astype(object)
    counts.iloc[4, 9] = value
    return counts, cells


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (with_value(1.5), r"cell_by_gene_S1R1.csv holds 1.5 at cell 10+31676, gene G9"),
        (with_value(-2), "holds -2 at cell"),
        (with_value("many"), "no number at cell 10+31676, column G9"),
        ((merfish_tables()[0].iloc[:-3], merfish_tables()[1]), "has 27 cells and .* has 30: cell"),
        ((merfish_tables()[0], merfish_tables()[1].drop(columns="center_x")), "no column 'center_x'"),
        ((merfish_tables()[0], merfish_tables()[1].assign(center_y=np.nan)), "no place for cell"),
        ((pd.concat([merfish_tables()[0]] * 2), merfish_tables()[1]), "names cell .* twice"),
    ],
)
def test_merfish_tables_that_are_damaged_are_refused_with_the_record(tmp_path, tables, said):
    write_merfish(tmp_path, *tables)
    with pytest.raises(InputError, match=said):
        load("merfish", tmp_path)


def test_a_merfish_table_that_was_cut_is_refused(tmp_path):
    folder = write_merfish(tmp_path, *merfish_tables())
    cut(folder / "cell_by_gene_S1R1.csv")
    with pytest.raises(InputError, match=r"cell_by_gene_S1R1.csv"):
        load("merfish", tmp_path)


# ---- CITE-seq


def pbmc_table() -> anndata.AnnData:
    """Cells around every limit of the filter of scvi-tools."""
    rng = generator("pbmc")
    genes = [f"MT-{i}" for i in range(3)] + GENES
    counts = rng.poisson(2.0, (N_CELLS, len(genes)))
    counts[:, :3] = 1
    counts[5, :3] = 40
    proteins = [f"P{i}" for i in range(200)] + ["CD3-1", "CD3-2", "Notch-1", "Notch-2", "CD45-1", "TCR-V-1", "HLA-DR-2"]
    amounts = rng.poisson(20.0, (N_CELLS, len(proteins)))
    amounts[7], amounts[8] = amounts[7] * 20, amounts[8] // 12
    amounts[9, 20:] = 0
    amounts[9, :20] = 400
    names = [f"cell{i}" for i in range(N_CELLS)]
    obs = pd.DataFrame({"celltype.l2": "B", "donor": [f"P{i % 4}" for i in range(N_CELLS)]}, index=names)
    obs.loc["cell3", "celltype.l2"] = "Doublet"
    table = anndata.AnnData(
        scipy.sparse.csr_matrix(counts.astype(np.float32)), obs.astype("category"), pd.DataFrame(index=genes)
    )
    table.obsm["protein_counts"] = pd.DataFrame(amounts.astype(float), index=names, columns=proteins)
    return table


def write_pbmc(data: Path, table: anndata.AnnData) -> None:
    (data / "pbmc_citeseq").mkdir(exist_ok=True)
    table.write_h5ad(data / "pbmc_citeseq" / "pbmc_seurat_v4.h5ad")


def test_pbmc_leaves_out_what_scvi_tools_leaves_out_and_adds_antibodies(tmp_path):
    table = pbmc_table()
    write_pbmc(tmp_path, table)
    made = load("pbmc_citeseq", tmp_path)
    assert set(table.obs_names) - set(made.obs_names) == {f"cell{i}" for i in (3, 5, 7, 8, 9)}
    np.testing.assert_array_equal(made.X.toarray(), table[made.obs_names].X.toarray())
    proteins, before = made.obsm["protein_counts"], table[made.obs_names].obsm["protein_counts"]
    np.testing.assert_array_equal(proteins["CD3"], before["CD3-1"] + before["CD3-2"])
    assert {"Notch-1", "Notch-2", "CD45-1", "TCR-V-1", "HLA-DR-2"} <= set(proteins.columns)
    assert "CD3-1" not in proteins
    assert made.obs["donor"].tolist() == table[made.obs_names].obs["donor"].tolist()


def test_pbmc_without_filter_and_sums_is_the_file(tmp_path):
    table = pbmc_table()
    write_pbmc(tmp_path, table)
    made = load("pbmc_citeseq", tmp_path, apply_filters=False, aggregate_proteins=False)
    assert made.n_obs == N_CELLS
    assert made.obsm["protein_counts"].columns.tolist() == table.obsm["protein_counts"].columns.tolist()


@pytest.mark.slow
def test_pbmc_is_what_scvi_tools_makes_of_the_same_file(tmp_path):
    from scvi.data import pbmc_seurat_v4_cite_seq

    write_pbmc(tmp_path, pbmc_table())
    made = load("pbmc_citeseq", tmp_path)
    theirs = pbmc_seurat_v4_cite_seq(save_path=str(tmp_path / "pbmc_citeseq"))
    assert made.obs_names.tolist() == theirs.obs_names.tolist()
    np.testing.assert_array_equal(made.X.toarray(), theirs.X.toarray())
    pd.testing.assert_frame_equal(made.obsm["protein_counts"], theirs.obsm["protein_counts"], check_dtype=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.obs.drop(columns="celltype.l2", inplace=True), "no column 'celltype.l2'"),
        (lambda table: table.obsm.pop("protein_counts"), "obsm has no 'protein_counts'; it has nothing"),
        (lambda table: setattr(table, "X", table.X * 0.5), r"X holds [\d.]+ at cell cell\d+, gene [\w-]+"),
        (lambda table: setattr(table, "X", table.X.toarray()), "sparse matrix by rows"),
    ],
)
def test_pbmc_files_of_another_kind_are_refused(tmp_path, change, said):
    table = pbmc_table()
    change(table)
    write_pbmc(tmp_path, table)
    with pytest.raises(InputError, match=said):
        load("pbmc_citeseq", tmp_path)


def test_an_h5ad_that_was_cut_is_refused(tmp_path):
    write_pbmc(tmp_path, pbmc_table())
    cut(tmp_path / "pbmc_citeseq" / "pbmc_seurat_v4.h5ad")
    with pytest.raises(InputError, match=r"pbmc_seurat_v4.h5ad cannot be opened"):
        load("pbmc_citeseq", tmp_path)


def test_an_hdf5_file_that_is_no_h5ad_is_refused(tmp_path):
    import h5py

    (tmp_path / "pbmc_citeseq").mkdir()
    with h5py.File(tmp_path / "pbmc_citeseq" / "pbmc_seurat_v4.h5ad", "w") as file:
        file["matrix"] = 1
    with pytest.raises(InputError, match=r"no table obs"):
        load("pbmc_citeseq", tmp_path)


# ---- embryo


def write_embryo(data: Path, counts: np.ndarray) -> None:
    names = [f"run_4.{i}" for i in range(len(counts))]
    obs = pd.DataFrame(
        {"author_day": [f"E{850 + 25 * (i % 3):04d}" for i in range(len(counts))], "donor_id": "embryo_1"}, index=names
    ).astype("category")
    table = anndata.AnnData(scipy.sparse.csr_matrix(counts.astype(np.float32)), obs, pd.DataFrame(index=GENES))
    table.raw = table.copy()
    table.X = table.X.log1p()
    (data / "embryo").mkdir(exist_ok=True)
    table.write_h5ad(data / "embryo" / DATA_SETS["embryo"].files[0].name)


def test_embryo_takes_raw_counts_and_names_day_and_embryo(tmp_path, monkeypatch):
    counts = counts_of(N_CELLS, len(GENES))
    write_embryo(tmp_path, counts)
    monkeypatch.setattr("nsl_assets.datasets.source_h5ad._BLOCK_CELLS", 7)
    made = load("embryo", tmp_path)
    np.testing.assert_array_equal(made.X.toarray(), counts)
    assert made.obs["author_day"].tolist()[:3] == ["E0850", "E0875", "E0900"]
    assert made.obs["embryo"].unique().tolist() == ["embryo_1"]


def test_embryo_cells_are_chosen_by_identity(tmp_path):
    counts = counts_of(N_CELLS, len(GENES))
    write_embryo(tmp_path, counts)
    few, more = load("embryo", tmp_path, max_cells=10), load("embryo", tmp_path, max_cells=25)
    assert few.n_obs == 10
    assert set(few.obs_names) < set(more.obs_names)
    rows = [int(name.split(".")[1]) for name in few.obs_names]
    np.testing.assert_array_equal(few.X.toarray(), counts[rows])


# ---- what holds for all


def test_the_same_files_and_options_give_the_same_bytes(larry):
    data, _ = larry
    load("larry", data)
    path = data / "larry" / "larry.h5ad"
    first = path.read_bytes()
    path.unlink()
    load("larry", data)
    assert path.read_bytes() == first


def test_a_file_of_an_older_recipe_is_made_anew_and_one_of_this_recipe_is_not(larry):
    data, _ = larry
    load("larry", data)
    path = data / "larry" / "larry.h5ad"
    changed = path.stat().st_mtime_ns
    load("larry", data)
    assert path.stat().st_mtime_ns == changed
    newer = replace(DATA_SETS["larry"], version=2, n_cells=None, n_genes=None)
    assert place(newer, newer.options(), data).state() == "to make"
    fetch(newer, newer.options(), data, silent)
    assert path.stat().st_mtime_ns > changed


def test_a_made_file_is_used_without_its_sources(larry):
    data, counts = larry
    load("larry", data)
    for path in (data / "larry").glob("*.gz"):
        path.unlink()
    assert load("larry", data).X.sum() == counts.sum()


def test_a_source_that_was_replaced_by_another_version_is_noticed(larry):
    data, counts = larry
    load("larry", data)
    write_mtx_gz(data / "larry" / "stateFate_inVitro_normed_counts.mtx.gz", counts + 1)
    with pytest.raises(InputError, match=r"normed_counts.mtx.gz has the SHA-256 .* noted in"):
        load("larry", data, inversion="truncated")


def on_server(server, data: Path, **behaviour) -> DataSet:
    """LARRY with its four files on a server instead of in the folder."""
    folder = data / "larry"
    for path in folder.glob("*.gz"):
        server.serve(path.name, path.read_bytes(), **behaviour)
        path.unlink()
    files = tuple(replace(one, addresses=(server.address(one.name),)) for one in DATA_SETS["larry"].files)
    return replace(DATA_SETS["larry"], files=files, n_cells=None, n_genes=None)


def test_a_data_set_is_downloaded_over_a_breaking_connection_and_made(larry, server):
    data, counts = larry
    one = on_server(server, data)
    for page in server.pages.values():
        page.cuts.extend([200, 100])
    path = fetch(one, one.options(), data, silent)
    np.testing.assert_array_equal(anndata.read_h5ad(path).X.toarray(), counts)
    assert (one.files[0].name, "bytes=300-") in server.requests
    server.requests.clear()
    fetch(one, one.options(), data, silent)
    assert server.requests == []


def test_what_is_missing_is_said_once_for_all_files_and_the_rest_is_kept(larry, server):
    data, _ = larry
    one = on_server(server, data)
    genes, clones = (one.files[i].name for i in (1, 2))
    kept = {name: server.pages.pop(name) for name in (genes, clones)}
    with pytest.raises(DownloadError, match=rf"(?s)2 of 4 file.*{genes}.*{clones}.*into {data / 'larry'}"):
        fetch(one, one.options(), data, silent)
    server.pages.update(kept)
    server.requests.clear()
    fetch(one, one.options(), data, silent)
    assert sorted(path for path, _ in server.requests) == sorted([genes, clones])


def _fetch(one: DataSet, data: Path) -> None:
    fetch(one, one.options(), data, silent)


@pytest.mark.slow
def test_two_processes_make_a_data_set_once(larry, server):
    data, counts = larry
    one = on_server(server, data)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_fetch, args=(one, data)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(server.requests) == 4
    assert anndata.read_h5ad(data / "larry" / "larry.h5ad").X.sum() == counts.sum()


def test_what_a_killed_process_left_is_removed(larry):
    data, _ = larry
    abandoned = data / "larry" / ".larry.h5ad.0a1b2c.tmp"
    abandoned.write_bytes(b"half")
    load("larry", data)
    assert not abandoned.exists()
