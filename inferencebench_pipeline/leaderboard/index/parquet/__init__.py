"""The tables of the index on disk: the columns, and a partition for each span of days."""
