"""Tables from files: .npy, .csv, .parquet and places of .h5ad, with the names of their rows where they have names.

What rows and columns mean is up to the reader of the table: models look embeddings up in them, `nsl mi` pairs them.
"""

from nsl_assets.tables.address import FORMS, Address
from nsl_assets.tables.reading import read_columns, read_npy, read_table
from nsl_assets.tables.table import Table, holds_numbers

__all__ = ["FORMS", "Address", "Table", "holds_numbers", "read_columns", "read_npy", "read_table"]
