"""The demo on one machine: a sandbox, the whole life of one benchmark, and the Dagster UI."""
