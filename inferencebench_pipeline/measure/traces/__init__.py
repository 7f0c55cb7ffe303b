"""TODO traces."""
