"""The commands that measure, search and replay, and the one that checks a spec."""
