"""The assets, each in a file of its name, in a folder named as its group in the Dagster UI.

The files are thin: they call the rooms below and show the result. No algorithm lies here.
"""

import warnings

import dagster as dg

# This package uses two unfinished APIs of Dagster 1.13 on purpose. Any other warning about a
# preview or beta API is news and is shown.
warnings.filterwarnings("ignore", "Specifying a partitions_def on an AssetCheckSpec")
warnings.filterwarnings("ignore", "Parameter `backfill_policy` of", category=dg.BetaWarning)
