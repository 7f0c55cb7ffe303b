"""The outside world on loopback: a Hub and a Sigstore for trying, testing and demonstrating.

Nothing in the product imports this package but its own command line, the demo and the tests. What
it signs or stores proves nothing to anyone else.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
