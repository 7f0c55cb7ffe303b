"""Jobs: one a file, named as in the Dagster UI, with its form and its schedule."""
