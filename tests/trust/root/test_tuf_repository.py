"""The public-good repository: which root metadata a refresh starts from."""

from __future__ import annotations

import json

import pytest

from inferencebench_pipeline.trust.errors import TrustConfigError
from inferencebench_pipeline.trust.root import tuf_repository


def test_a_refresh_starts_from_the_reviewed_root_metadata_and_from_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bootstrap = tuf_repository.public_good_repository().bootstrap
    assert json.loads(bootstrap)["signed"]["_type"] == "root"
    monkeypatch.setattr(tuf_repository, "read_embedded", lambda *_: bootstrap + b" ")
    with pytest.raises(TrustConfigError, match="review the new metadata"):
        tuf_repository.public_good_repository()
