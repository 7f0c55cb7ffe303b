"""The published and verified results side by side: an index, and a page rendered from it.

Everything here is derived from the corpus (inventory, blobs, verdicts). Nothing is judged here,
and no run directory is read: a result that is not published cannot appear.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
