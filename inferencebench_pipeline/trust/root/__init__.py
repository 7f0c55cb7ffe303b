"""TODO root."""
