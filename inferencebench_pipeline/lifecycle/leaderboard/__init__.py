"""The assets of the group ``leaderboard``: the index, its dataset, and the statement on it."""
