"""From the name of a data set to its .h5ad: fetches what is missing, makes the file once, and finds it again."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationError

from nsl_assets.datasets.counts_file import read_provenance
from nsl_assets.datasets.definition import DataSet, Work
from nsl_assets.datasets.download import DownloadError, download
from nsl_assets.datasets.embryo import EMBRYO
from nsl_assets.datasets.larry import LARRY
from nsl_assets.datasets.merfish import MERFISH
from nsl_assets.datasets.pbmc_citeseq import PBMC_CITESEQ
from nsl_assets.datasets.progress import Advance, Report, silent
from nsl_assets.datasets.source_file import Accepted, SourceFile, Sources, accepted
from nsl_assets.datasets.whole_files import only_process
from nsl_assets.errors import InputError
from nsl_assets.settings import Settings

DATA_SETS: Final[Mapping[str, DataSet]] = {one.name: one for one in (EMBRYO, PBMC_CITESEQ, LARRY, MERFISH)}
State = Literal["there", "to make", "to download", "to fetch by hand"]


def data_set(name: str) -> DataSet:
    """The public data set of that name. Raises InputError, with the closest, where there is none."""
    if name not in DATA_SETS:
        close = difflib.get_close_matches(name, DATA_SETS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(f"there is no data set {name!r}.{hint} There are: {', '.join(DATA_SETS)}.")
    return DATA_SETS[name]


def options_of(one: DataSet, values: Mapping[str, Any]) -> Settings:
    """Typed options. Raises InputError naming the option, its value and what is allowed."""
    try:
        return one.options.model_validate(values)
    except ValidationError as error:
        allowed = ", ".join(one.options.model_fields)
        mistakes = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False)]
        raise InputError(f"{one.name}: {'; '.join(mistakes)}. Its options: {allowed}.") from None


@dataclass(frozen=True)
class Place:
    """Where a data set lies, or would lie, with some options."""

    data_set: DataSet
    options: Settings
    folder: Path

    @property
    def path(self) -> Path:
        """The .h5ad file."""
        return self.folder / self.data_set.file_name(self.options)

    @property
    def recipe(self) -> dict[str, Any]:
        """What the content of the .h5ad depends on besides its source files."""
        return {
            "data_set": self.data_set.name,
            "version": self.data_set.version,
            "options": self.options.model_dump(mode="json"),
        }

    @property
    def is_made(self) -> bool:
        """Whether the file is there, made by this recipe."""
        return self.path.is_file() and read_provenance(self.path).get("recipe") == self.recipe

    def missing(self) -> list[SourceFile]:
        """Files that are not there yet, by name alone."""
        return [source for source in self.data_set.files if not self._is_there(source)]

    def state(self) -> State:
        """What is left to do."""
        if self.is_made:
            return "there"
        missing = self.missing()
        if not missing:
            return "to make"
        return "to download" if all(source.addresses for source in missing) else "to fetch by hand"

    @property
    def command(self) -> str:
        """The command that makes the file."""
        defaults = self.data_set.options().model_dump(mode="json")
        options = self.options.model_dump(mode="json").items()
        changed = [f"--{key.replace('_', '-')} {value}" for key, value in options if value != defaults[key]]
        return " ".join(["nsl data fetch", self.data_set.name, *changed])

    def advice(self) -> str:
        """What a person has to do to have the .h5ad, with and without a network."""
        missing = self.missing()
        if not missing:
            return f"Its files are there: `{self.command}` makes it."
        files = "".join(f"\n  {source.advice(self.folder)}" for source in missing)
        if self.state() == "to fetch by hand":
            return f"Download by hand, then `{self.command}` makes it:{files}"
        return f"`{self.command}` gets it. Without a network, first put there by hand:{files}"

    def _is_there(self, source: SourceFile) -> bool:
        return any((self.folder / name).is_file() for name in (source.name, *source.other_names))


def place(one: DataSet, options: Settings, data_folder: Path) -> Place:
    """Where a data set lies: a folder of its name, with its source files."""
    return Place(one, options, data_folder / one.name)


def fetch(one: DataSet, options: Settings, data_folder: Path, report: Report = silent) -> Path:
    """The .h5ad of a data set: found, or made from its files, which are downloaded where they are not there.

    Two processes that ask at once make it once. An interrupted call is gone on with by the next.

    Raises
    ------
    DownloadError
        Files are missing: the message says what to download and where to put it.
    InputError
        A file is not what it should be: the message names the file and the record. It is left where it is.
    """
    where = place(one, options, data_folder)
    if where.is_made:
        return where.path
    waiting = Advance(f"waiting for another process that makes {one.name}", 0, None, "cells")
    with only_process(where.path, lambda: report(waiting)):
        if not where.is_made:
            sources = _obtain(where, report)
            one.make(Work(one, sources, options, where.path, _provenance(where, sources), report))
    return where.path


def _obtain(where: Place, report: Report) -> Sources:
    files: dict[str, Accepted] = {}
    failures: dict[SourceFile, str] = {}
    for source in where.data_set.files:
        try:
            files[source.name] = accepted(source, where.folder) or download(source, where.folder, report)
        except DownloadError as error:
            failures[source] = str(error)
    if failures:
        reasons = "\n".join(f"  {reason}" for reason in failures.values())
        advice = "\n".join(f"  {source.advice(where.folder)}" for source in failures)
        raise DownloadError(
            f"{where.data_set.name}: {len(failures)} of {len(where.data_set.files)} file(s) could not be fetched:\n"
            f"{reasons}\nDownload by hand:\n{advice}\nand run the same command again: files put there are checked and"
            " used. What was downloaded is kept."
        )
    return Sources(files)


def _provenance(where: Place, sources: Sources) -> dict[str, Any]:
    one = where.data_set
    return {
        "recipe": where.recipe,
        "title": one.title,
        "licence": one.licence,
        "citation": one.citation,
        "sources": [
            {
                "name": source.name,
                "sha256": sources.files[source.name].sha256,
                "addresses": [address.url for address in source.addresses] or [source.page],
            }
            for source in one.files
        ],
    }
