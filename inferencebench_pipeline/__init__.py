"""Turns an LLM inference benchmark into a record that anyone can check."""

__version__ = "0.2.0"
