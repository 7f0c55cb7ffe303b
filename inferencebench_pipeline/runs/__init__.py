"""The run directory: the seam between the stages of a run, with its lock and its digests."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
