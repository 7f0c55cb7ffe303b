"""TODO instance."""
