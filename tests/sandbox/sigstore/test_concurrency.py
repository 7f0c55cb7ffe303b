from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sigstore.models import Bundle

from tests.sandbox.sigstore.proofs import tree_hash
from tests.sandbox.sigstore.serving import Client

SIGNERS = 8
EACH = 12


@pytest.mark.slow
@pytest.mark.parametrize("log_version", [1, 2])
def test_eight_signers_at_once_get_one_entry_each_and_all_verify(
    client: Client, log_version: int
) -> None:
    def sign(signer_number: int) -> list[tuple[bytes, Bundle]]:
        signer = client.signer(log_version)
        artifacts = [b"%d/%d" % (signer_number, number) for number in range(EACH)]
        return [(artifact, signer.sign_artifact(artifact)) for artifact in artifacts]

    with ThreadPoolExecutor(SIGNERS) as pool:
        signed = [pair for batch in pool.map(sign, range(SIGNERS)) for pair in batch]
    by_index = {}
    for artifact, bundle in signed:
        client.verify(artifact, bundle)
        by_index[bundle.log_entry._inner.log_index] = bundle.log_entry._inner
    assert sorted(by_index) == list(range(SIGNERS * EACH))
    bodies = [by_index[index].canonicalized_body for index in sorted(by_index)]
    for entry in by_index.values():
        proof = entry.inclusion_proof
        assert tree_hash(bodies[: proof.tree_size]) == proof.root_hash
