"""One machine, nothing configured: the sandbox, one benchmark's whole life, and the UI on it."""
