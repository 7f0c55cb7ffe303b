"""The format of ``traces.parquet``: its schema, its order, and a reader for hostile files."""
