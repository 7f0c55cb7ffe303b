"""The run directory: the seam between the stages of a run, with its lock and its digests."""
