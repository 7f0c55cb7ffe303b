"""Analysis of comparable runs: ranking, Pareto fronts, spreads, change points and comparisons."""
