"""TODO provenance."""
