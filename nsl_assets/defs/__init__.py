"""The only room that imports Dagster's asset API: assets, partitions, checks, automation."""

import warnings

import dagster as dg

# Fan-in over one dimension of a grid is marked beta by Dagster; tests/defs hold us to what it does.
warnings.filterwarnings("ignore", category=dg.BetaWarning, message=".*MultiToSingleDimensionPartitionMapping.*")
