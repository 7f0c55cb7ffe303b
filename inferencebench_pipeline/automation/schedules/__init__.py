"""Schedules: the benchmarks that are measured again at fixed times.

The schedules of the corpus stand beside their jobs, in ``jobs/corpus_upkeep.py``.
"""
