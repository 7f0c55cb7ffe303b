"""The leaderboard's pages: static files rendered from the index."""
