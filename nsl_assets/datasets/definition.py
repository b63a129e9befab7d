"""What defines a public data set: what it is, its files, and how one .h5ad is made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nsl_assets.datasets.progress import Report
from nsl_assets.datasets.source_file import SourceFile, Sources
from nsl_assets.errors import InputError
from nsl_assets.settings import Settings


@dataclass(frozen=True)
class Work:
    """What a loader is given.

    Attributes
    ----------
    sources
        The accepted files.
    options
        Settings of the data set.
    output
        Where the .h5ad goes.
    provenance
        To be written into ``uns["nsl"]``, with what the loader itself found.
    """

    data_set: DataSet
    sources: Sources
    options: Any
    output: Path
    provenance: dict[str, Any]
    report: Report

    def require_shape(self, n_cells: int, n_genes: int, path: Path) -> None:
        """Raises InputError where a file does not have the numbers of cells and genes of the published one."""
        expected_shape = self.data_set.n_cells, self.data_set.n_genes
        for found, expected, what in zip((n_cells, n_genes), expected_shape, ("cells", "genes"), strict=True):
            if expected is not None and found != expected:
                raise InputError(
                    f"{path} has {found:,} {what}; the data set {self.data_set.name!r} has {expected:,}. It is another"
                    " file, or another version of it."
                )


@dataclass(frozen=True)
class DataSet:
    """One public data set.

    Attributes
    ----------
    title, signal
        What it is, and which hidden signal it carries and where.
    n_cells, n_genes
        Of the published file, before any filter; None where publications disagree.
    files
        What it is made from.
    options
        Its settings; each has a default.
    make
        Writes the .h5ad.
    version
        Raised whenever the same files and options would give another .h5ad.
    """

    name: str
    title: str
    signal: str
    n_cells: int | None
    n_genes: int | None
    licence: str
    citation: str
    files: tuple[SourceFile, ...]
    options: type[Settings]
    make: Callable[[Work], None]
    version: int = 1

    def file_name(self, options: Settings) -> str:
        """NAME.h5ad, with the options that are not at their defaults."""
        defaults = self.options().model_dump(mode="json")
        changed = [f"{key}={value}" for key, value in options.model_dump(mode="json").items() if value != defaults[key]]
        return f"{'-'.join([self.name, *changed])}.h5ad"
