"""The outside world on loopback: a Hub and a Sigstore to try, test and demonstrate with.

Only its own command line, the demo and the tests import this package. Its signatures and records
prove nothing to anyone else.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
