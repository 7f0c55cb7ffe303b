"""This process's DuckDB. It holds nothing; sessions share its threads and have views of their own.

To begin a database takes longer than most of the queries that a build asks.
"""

from __future__ import annotations

from functools import cache

import duckdb


def session() -> duckdb.DuckDBPyConnection:
    """Return a new session; what is registered in it is gone when it is closed."""
    return _database().cursor()


def use_one_thread() -> None:
    """Leave the other processors to the other processes."""
    _database().execute("SET threads = 1")


@cache
def _database() -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(":memory:")
    # A Parquet file's description is read once, not for each question.
    database.execute("SET parquet_metadata_cache = true")
    return database
