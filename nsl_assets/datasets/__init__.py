"""Public data sets by name: fetched, checked, and made into one .h5ad of raw counts that a task reads as any other."""

from nsl_assets.datasets.address import address_of, is_address, place_of_address, place_of_file
from nsl_assets.datasets.definition import DataSet
from nsl_assets.datasets.download import DownloadError
from nsl_assets.datasets.fetching import DATA_SETS, Place, State, data_set, fetch, options_of, place
from nsl_assets.datasets.grid import PaperGrid, paper_grid
from nsl_assets.datasets.progress import Advance, Report

__all__ = [
    "DATA_SETS",
    "Advance",
    "DataSet",
    "DownloadError",
    "PaperGrid",
    "Place",
    "Report",
    "State",
    "address_of",
    "data_set",
    "fetch",
    "is_address",
    "options_of",
    "paper_grid",
    "place",
    "place_of_address",
    "place_of_file",
]
