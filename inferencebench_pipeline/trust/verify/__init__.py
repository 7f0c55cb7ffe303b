"""Verification: a pure function from the bytes of an envelope to a verdict."""
