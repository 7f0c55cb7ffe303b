"""The inbox: finished runs of other machines, from a folder or an object store."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
