"""The sandbox's Hub, as the tests of the Hub use it."""

from __future__ import annotations

from tests.hub.conftest import sandbox, stages, store, world

__all__ = ["sandbox", "stages", "store", "world"]
