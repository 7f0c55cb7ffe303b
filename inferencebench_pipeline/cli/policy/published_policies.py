"""Policies that an organisation publishes on the Hub, read as a reader names them."""

from __future__ import annotations

import re
from typing import Final

from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.hub import Hub, Repo
from inferencebench_pipeline.trust import PublishedPolicy

POLICY_FILE: Final = "policy.yaml"
SIGNATURE_FILE: Final = f"{POLICY_FILE}.sigstore.json"
_MAX_BYTES: Final = 1 << 20
_ADDRESS: Final = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<rev>.+))?")


class PolicyAddressError(PermanentError):
    """The address names no published policy."""


def fetch_policy(address: str, hub: Hub) -> PublishedPolicy:
    """Return the policy and its signature of one commit of a dataset.

    Args:
        address: ``hf://datasets/ORG/NAME[@revision]``.
        hub: the client.

    Raises:
        PolicyAddressError: it has another form, or the repository has no commit there.
        HubNotFoundError: the policy or its signature is not there.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise PolicyAddressError(
            f"{address!r} is not of the form hf://datasets/ORG/NAME[@revision]"
        )
    repo = Repo("dataset", match["repo"])
    # Pinned once, so that the policy and its signature are of the same commit.
    commit = hub.head(repo, match["rev"] or "main").commit
    if commit is None:
        raise PolicyAddressError(f"{repo.id} has no commit there; there is no policy to read")
    return PublishedPolicy(
        data=hub.fetch(repo, commit, POLICY_FILE, max_bytes=_MAX_BYTES),
        bundle=hub.fetch(repo, commit, SIGNATURE_FILE, max_bytes=_MAX_BYTES),
        where=f"hf://datasets/{repo.id}/{POLICY_FILE}@{commit}",
    )
