"""The assets of the group ``leaderboard``: the index of the verified records, and its pages."""
