"""Registers of what may not be linked: one in the store, and the public one on the Hub."""
