"""TODO takedown."""
