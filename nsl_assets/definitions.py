"""The Definitions that Dagster loads, built from the studies; nothing else."""

from nsl_assets.defs.build import build_definitions
from nsl_assets.study import load_project

defs = build_definitions(load_project())
