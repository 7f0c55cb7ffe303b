"""The sensors of the code location: each file is named as its sensor is in the Dagster UI."""
