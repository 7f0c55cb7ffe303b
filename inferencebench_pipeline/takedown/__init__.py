"""Takedown: what somebody does not want to carry of ours is found, removed and remembered."""
