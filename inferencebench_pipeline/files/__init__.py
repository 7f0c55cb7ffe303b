"""Files on a disk that is not trusted: atomic writes, bounded reads, locks, and sealed content."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
