"""Sensors: one a file, named as in the Dagster UI. A sensor asks for work and does none itself."""
