"""The v1 envelope: its models, its canonical body and content hash, and building one."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
