"""Metrics: values and intervals that anyone can compute again from the traces."""
