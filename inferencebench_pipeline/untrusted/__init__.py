"""Reading what a stranger wrote: bounded in size, depth and time, and safe to print.

Everything that comes from a Hub, an engine, an inbox, a record or a colleague's file passes through
here before the rest of the project looks at it. Nothing here knows what the documents mean.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
