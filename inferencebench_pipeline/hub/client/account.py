"""The account behind a token and its permissions, read before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from inferencebench_pipeline.hub.client.errors import HubPermissionError

_REMEDY = (
    "create one with write access to this namespace (role 'write', or fine-grained with "
    "repo.write) and set HF_TOKEN or HF_TOKEN_PATH"
)


@dataclass(frozen=True)
class Account:
    """The account a token belongs to, and its reach."""

    name: str
    token_role: str
    """``read``, ``write``, ``fineGrained``, or a role this version has not heard of."""
    writable: frozenset[str]
    """Namespaces whose repositories it may change, whoever made them."""
    creatable: frozenset[str]
    """Namespaces it may create repositories in, and then change those."""

    def require_write_token(self) -> None:
        """Return when the token may write anywhere at all.

        Raises:
            HubPermissionError: it can only read.
        """
        if self.token_role == "read":  # noqa: S105 - a role's name
            raise HubPermissionError(
                f"the Hub token of {self.name!r} can only read, and write access is needed; "
                f"{_REMEDY}"
            )

    def require_creating_in(self, namespace: str) -> None:
        """Return when the token may create and fill a repository of ``namespace``.

        Raises:
            HubPermissionError: it may not; nothing was changed.
        """
        self.require_write_token()
        if namespace not in self.creatable:
            places = ", ".join(sorted(self.creatable)) or "no namespace"
            raise HubPermissionError(
                f"the Hub token of {self.name!r} has no write access to {namespace!r} (it has to: "
                f"{places}); ask an admin of {namespace!r} for the role 'write', or {_REMEDY}"
            )


def account_of(answer: Mapping[str, Any]) -> Account:
    """Return the account that the Hub's ``whoami-v2`` answer describes.

    Raises:
        KeyError: it names nobody.
    """
    name = str(answer["name"])
    token = answer.get("auth", {}).get("accessToken", {})
    role = str(token.get("role", "unknown"))
    if role == "read":
        return Account(name, role, writable=frozenset(), creatable=frozenset())
    roles = {
        str(organisation["name"]): str(organisation.get("roleInOrg"))
        for organisation in answer.get("orgs", [])
    }
    writable = {name} | {org for org, held in roles.items() if held in {"admin", "write"}}
    # A contributor may change only those repositories of an organisation that it has created.
    creatable = writable | {org for org, held in roles.items() if held == "contributor"}
    if role == "fineGrained":
        # A fine-grained token can reach less than its account, and never more.
        scoped = set(_scoped(token.get("fineGrained", {})))
        writable, creatable = writable & scoped, creatable & scoped
    return Account(name, role, frozenset(writable), frozenset(creatable))


def _scoped(grants: Mapping[str, Any]) -> Iterator[str]:
    """Yield the namespaces that a fine-grained token may write to."""
    for grant in grants.get("scoped", []):
        if "repo.write" in grant.get("permissions", []):
            yield str(grant.get("entity", {}).get("name", ""))
