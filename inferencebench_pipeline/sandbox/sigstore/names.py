"""The names that identify each service for ever, and the addresses they answer at today.

Names are signed into certificates and checkpoints and pinned by policies, so they do not change
with the port; addresses do.
"""

from __future__ import annotations

from dataclasses import dataclass

ISSUER = "https://oidc.inferencebench.sandbox"
"""Issuer of every identity token: a name, never fetched by anyone."""

GITHUB = "https://github.com"
GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
"""Issuer of the tokens of GitHub Actions, which the sandbox plays too, under its own key."""

AUDIENCE = "sigstore"
"""The one audience Sigstore clients ask for and Fulcio accepts."""

DEFAULT_IDENTITY = "pipeline@inferencebench.sandbox"
"""The identity in the identity-token file."""

DEFAULT_ORGANISATION = "inferencebench-sandbox"
"""The Hub namespace the default identity may sign for."""

REKOR_V1_ORIGIN = "rekor-v1.inferencebench.sandbox"
REKOR_V2_ORIGIN = "rekor-v2.inferencebench.sandbox"
CT_ORIGIN = "ct.inferencebench.sandbox"
TSA_ORIGIN = "tsa.inferencebench.sandbox"

OPERATOR = "inferencebench.sandbox"
"""One operator for all services: clients then take the highest log version it offers."""


@dataclass(frozen=True)
class Addresses:
    """The addresses of the services, below a base URL such as ``http://127.0.0.1:41234``.

    A log's origin is part of its path, since sigstore-js demands that the name on a checkpoint
    occurs in the log's base URL.
    """

    base_url: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", self.base_url.rstrip("/"))

    @property
    def fulcio(self) -> str:
        """The root: sigstore-python drops any path from the CA's URL."""
        return self.base_url

    @property
    def oidc(self) -> str:
        """Base of the issuer's discovery document."""
        return f"{self.base_url}/oidc"

    @property
    def rekor_v1(self) -> str:
        """Base of the Rekor v1 log; clients add ``/api/v1``."""
        return f"{self.base_url}/{REKOR_V1_ORIGIN}"

    @property
    def rekor_v2(self) -> str:
        """Base of the Rekor v2 log; clients add ``/api/v2``."""
        return f"{self.base_url}/{REKOR_V2_ORIGIN}"

    @property
    def ct(self) -> str:
        """Names the certificate transparency log, which nobody reads from."""
        return f"{self.base_url}/{CT_ORIGIN}"

    @property
    def tsa(self) -> str:
        """The whole URL timestamp requests are posted to."""
        return f"{self.base_url}/{TSA_ORIGIN}/api/v1/timestamp"
