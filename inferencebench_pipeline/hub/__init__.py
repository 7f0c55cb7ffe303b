"""The Hugging Face Hub: publishing a run, its dataset card, the model-card backlink, the crawl.

Only ``client`` and ``transport`` know ``huggingface_hub``; the others speak to :class:`Hub`. What
is decided from bytes alone (names, cards, front matter) is pure and does no I/O.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
