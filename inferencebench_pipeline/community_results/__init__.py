"""Results that others state on the Hub: ``.eval_results`` files, ``eval.yaml`` and pull requests.

They are read, listed with their source, and never counted as verified. The corpus knows nothing of
this room, and this room knows nothing of the corpus.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
