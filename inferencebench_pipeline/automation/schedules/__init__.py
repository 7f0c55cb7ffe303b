"""The schedules of the code location: each file is named as its schedule is in the Dagster UI.

``benchmarks.py`` makes one schedule for each spec that repeats itself, named ``benchmark_<spec>``.
"""
