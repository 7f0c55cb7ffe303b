"""TODO takedowns."""
