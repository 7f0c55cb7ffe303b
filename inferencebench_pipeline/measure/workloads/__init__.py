"""Workloads: data sets, made-up text of exact length, and the hash that identifies them."""
