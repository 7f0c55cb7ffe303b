"""The Dagster instance: its pools of concurrency, and its webserver behind a guard."""
