"""Trust: signing, trust roots, the identity policy, and verification to a verdict."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
