"""Requests for Dagster runs, as the sensors make them: first, again, and after an interruption."""
