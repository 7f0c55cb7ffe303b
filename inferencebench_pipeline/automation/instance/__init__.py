"""The Dagster instance: the limits of its pools, and its webserver behind a guard."""
