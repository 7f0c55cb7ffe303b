"""Transparency logs: Merkle proofs, checkpoints, tiles, and reading the entries of a log."""
