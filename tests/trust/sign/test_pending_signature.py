"""A prepared signature is read back for its own message and its own log, and for no other."""

from __future__ import annotations

import pytest

from inferencebench_pipeline.trust.sign.pending_signature import (
    PreparedSignature,
    UnusableIntentError,
)
from inferencebench_pipeline.trust.sign.services import SigningDeadlines, open_services
from tests.trust.conftest import World
from tests.trust.sign.test_session import begin, token_of

MESSAGE, LOG = b"a content hash", "https://log.example"


def test_a_prepared_signature_belongs_to_its_message_and_its_log(world: World) -> None:
    services = open_services(
        world.trust.require_signing(), rekor_version=2, deadlines=SigningDeadlines()
    )
    prepared = begin(world, token_of(world)).sign_message(MESSAGE, services)
    kept = prepared.kept(log=LOG)
    read = PreparedSignature.from_kept(kept, message=MESSAGE, log=LOG)
    assert read.kept(log=LOG) == kept
    for message, log in ((b"another", LOG), (MESSAGE, "https://other.example")):
        with pytest.raises(UnusableIntentError, match="over another message, or for"):
            PreparedSignature.from_kept(kept, message=message, log=log)
    with pytest.raises(UnusableIntentError, match="not a prepared signature"):
        PreparedSignature.from_kept(kept[:-9], message=MESSAGE, log=LOG)
