"""Dagster's view of a run's life: one file per stage. Algorithms live in the domain packages."""

import warnings

import dagster as dg

# Two APIs of Dagster 1.13 that this package uses on purpose, and knows to be unfinished; any other
# preview or beta warning is news and shall be seen.
warnings.filterwarnings("ignore", "Specifying a partitions_def on an AssetCheckSpec")
warnings.filterwarnings("ignore", "Parameter `backfill_policy` of", category=dg.BetaWarning)
