"""The jobs of the code location: each file is named as its job is in the Dagster UI."""
