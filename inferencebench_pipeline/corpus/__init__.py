"""The published records: an inventory pinned to commits, their bytes, and the verdicts on them.

Nothing here ranks or renders; nothing here reads a run directory. The corpus is what a stranger
can fetch from the Hub, and every later page is derived from it alone.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
