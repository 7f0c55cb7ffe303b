"""The log entry of a signature: found where it is, and an answer that does not say so is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from inferencebench_pipeline.trust.errors import SigningRefusedError, SigningUnavailableError
from inferencebench_pipeline.trust.sign.log_entry import find_in_log, is_still_loggable, log_once
from inferencebench_pipeline.trust.sign.pending_signature import PreparedSignature
from inferencebench_pipeline.trust.sign.services import SigningServices
from tests.trust.conftest import World

VERSIONS = pytest.mark.parametrize("version", [1, 2], ids=["rekor-v1", "rekor-v2"])
SUITE = "llm.inference.chat"


def prepared(world: World, version: int) -> tuple[PreparedSignature, SigningServices]:
    """A signature that no log has yet, and the services to log it with."""
    signer = world.signer(rekor_version=version)
    services = signer._services()
    session = signer._certified(services, SUITE)
    return session.sign_message(b"a message", services), services


@VERSIONS
def test_an_entry_that_is_there_already_is_the_one_that_is_returned(
    world: World, version: int
) -> None:
    signature, services = prepared(world, version)
    first = log_once(signature, services, world.trust)
    sizes = world.log_sizes()
    again = log_once(signature, services, world.trust)
    assert again._inner.log_index == first._inner.log_index
    assert again._inner.canonicalized_body == first._inner.canonicalized_body
    assert world.log_sizes() == sizes


@VERSIONS
@pytest.mark.parametrize("body", ["", "an entry already exists", "index x", "{}"])
def test_a_log_that_holds_the_entry_and_does_not_say_where_is_told(
    world: World, version: int, body: str
) -> None:
    signature, services = prepared(world, version)
    world.faults.add("status", method="POST", path="/log/entries", status=409, body=body)
    with pytest.raises(SigningRefusedError, match="holds the entry but does not say where"):
        log_once(signature, services, world.trust)


@VERSIONS
def test_an_entry_that_cannot_be_fetched_where_the_log_says_is_an_outage(
    world: World, version: int
) -> None:
    signature, services = prepared(world, version)
    log_once(signature, services, world.trust)
    world.faults.add("status", method="GET", path="/log/entries|/tile/|checkpoint", times=None)
    with pytest.raises(SigningUnavailableError):
        log_once(signature, services, world.trust)


@VERSIONS
@pytest.mark.parametrize(
    ("status", "kind"), [(400, SigningRefusedError), (500, SigningUnavailableError)]
)
def test_any_other_refusal_is_told_as_what_it_is(
    world: World, version: int, status: int, kind: type[Exception]
) -> None:
    signature, services = prepared(world, version)
    world.faults.add("status", method="POST", path="/log/entries", status=status, times=None)
    with pytest.raises(kind):
        log_once(signature, services, world.trust)


def test_looking_for_an_entry_makes_none(world: World) -> None:
    signature, services = prepared(world, 1)
    sizes = world.log_sizes()
    assert find_in_log(signature, services) is None
    assert world.log_sizes() == sizes
    made = log_once(signature, services, world.trust)
    found = find_in_log(signature, services)
    assert found is not None
    assert found._inner.log_index == made._inner.log_index


@pytest.mark.parametrize("body", [[], None], ids=["an empty list", "not found"])
def test_a_log_without_the_entry_may_say_so_twice(world: World, body: list[Any] | None) -> None:
    signature, services = prepared(world, 1)
    status = {"status": 404} if body is None else {"status": 200, "body": json.dumps(body)}
    world.faults.add("status", path="/log/entries/retrieve", **status)
    assert find_in_log(signature, services) is None


def test_of_several_entries_of_one_signature_the_first_counts(world: World) -> None:
    signature, services = prepared(world, 1)
    made = log_once(signature, services, world.trust)
    url = f"{services.log_url}/log/entries/retrieve"
    request = {"entries": [signature.request(services.log)]}
    (entry,) = requests.post(url, json=request, timeout=10).json()
    later = {name: value | {"logIndex": value["logIndex"] + 5} for name, value in entry.items()}
    for answer in ([later, entry], [entry, later]):
        world.faults.add(
            "status", path="/log/entries/retrieve", status=200, body=json.dumps(answer)
        )
        found = find_in_log(signature, services)
        assert found is not None
        assert found._inner.log_index == made._inner.log_index


@pytest.mark.parametrize(("status", "body"), [(500, ""), (200, "<html>"), (200, '{"a": 1}')])
def test_a_log_that_answers_nonsense_is_an_error_and_not_no_entry(
    world: World, status: int, body: str
) -> None:
    signature, services = prepared(world, 1)
    world.faults.add("status", path="/log/entries/retrieve", status=status, body=body, times=None)
    with pytest.raises((SigningUnavailableError, SigningRefusedError)):
        find_in_log(signature, services)


@VERSIONS
def test_a_fresh_signature_can_be_logged_by_either_log(world: World, version: int) -> None:
    signature, services = prepared(world, version)
    assert is_still_loggable(signature, services)
