"""Takedown: what somebody does not want to carry of ours is found, removed and remembered."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
