"""TODO community_results."""
