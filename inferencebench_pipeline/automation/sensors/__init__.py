"""TODO sensors."""
