"""The index: Parquet tables and JSON of every record, built again only where something changed."""
