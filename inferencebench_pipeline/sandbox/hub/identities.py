"""Users, organisations and tokens, with their permissions.

Tokens are stored as SHA-256 only; the text of the two default ones lies in files of mode 0600.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
import threading
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from inferencebench_pipeline.files import write_atomically
from inferencebench_pipeline.sandbox.hub.errors import HubError

DEFAULT_USER = "sandbox-publisher"
DEFAULT_ORGANISATION = "inferencebench-sandbox"
SEEDED_MODEL_OWNER = "HuggingFaceTB"


class Role(StrEnum):
    """The scope of a token, and a member's role in an organisation."""

    READ = "read"
    WRITE = "write"


class User(BaseModel):
    """A user and their role in each organisation they belong to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    organisations: dict[str, Role] = {}


class Token(BaseModel):
    """An access token, known only by its hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    user: str
    role: Role


class Register(BaseModel):
    """The content of ``identities.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    users: dict[str, User] = {}
    tokens: tuple[Token, ...] = ()


class Caller(BaseModel):
    """The caller of a request: a user with the scope of a token, or nobody."""

    model_config = ConfigDict(frozen=True)

    name: str | None = None
    scope: Role = Role.READ
    organisations: dict[str, Role] = {}

    def may_read_private(self, namespace: str) -> bool:
        """Return whether private repositories of ``namespace`` are visible."""
        return self.name is not None and (namespace == self.name or namespace in self.organisations)

    def may_write(self, namespace: str) -> bool:
        """Return whether this caller may change repositories of ``namespace``."""
        return self.scope is Role.WRITE and (
            namespace == self.name or self.organisations.get(namespace) is Role.WRITE
        )


class Identities:
    """The users and tokens of one Hub, kept in ``<hub>/identities.json``."""

    def __init__(self, root: Path) -> None:
        self._path = root / "identities.json"
        self._lock = threading.Lock()
        if self._path.exists():
            self._register = Register.model_validate_json(self._path.read_bytes())
        else:
            self._register = Register()

    @classmethod
    def with_defaults(cls, root: Path) -> Self:
        """Return the identities under ``root``, making the default user and tokens at first start.

        The token files are ``tokens/write`` and ``tokens/read``.
        """
        identities = cls(root)
        if DEFAULT_USER not in identities._register.users:
            identities.put_user(
                DEFAULT_USER,
                User(
                    organisations={
                        DEFAULT_ORGANISATION: Role.WRITE,
                        # The card of the seeded model can be linked from as if it were one of ours.
                        SEEDED_MODEL_OWNER: Role.WRITE,
                    }
                ),
            )
        for role in Role:
            file = root / "tokens" / role.value
            if not file.exists():
                _write_secret(file, identities.issue_token(DEFAULT_USER, role))
        return identities

    @property
    def namespaces(self) -> set[str]:
        """Every user and organisation that exists."""
        users = self._register.users
        return set(users) | {org for user in users.values() for org in user.organisations}

    def put_user(self, name: str, user: User) -> None:
        """Create or replace a user with their memberships."""
        with self._lock:
            users = {**self._register.users, name: user}
            self._save(self._register.model_copy(update={"users": users}))

    def issue_token(self, user: str, role: Role) -> str:
        """Return a new token of ``user``; only its hash is kept."""
        with self._lock:
            if user not in self._register.users:
                raise HubError(404, f"No user {user!r}; create it first")
            text = f"hf_{secrets.token_urlsafe(32)}"
            token = Token(sha256=_sha256(text), user=user, role=role)
            tokens = (*self._register.tokens, token)
            self._save(self._register.model_copy(update={"tokens": tokens}))
            return text

    def caller(self, authorization: str | None) -> Caller:
        """Return the caller that an ``Authorization`` header names, or nobody without a header.

        Raises:
            HubError: 401 for a token that is unknown or malformed.
        """
        if authorization is None:
            return Caller()
        scheme, _, text = authorization.partition(" ")
        digest = _sha256(text.strip())
        for token in self._register.tokens:
            # RFC 9110 section 11.1: the name of the scheme ignores case.
            if scheme.lower() == "bearer" and secrets.compare_digest(token.sha256, digest):
                user = self._register.users[token.user]
                return Caller(name=token.user, scope=token.role, organisations=user.organisations)
        raise HubError(401, "Invalid credentials in Authorization header")

    def _save(self, register: Register) -> None:
        write_atomically(self._path, register.model_dump_json(indent=2).encode())
        self._register = register


def secret_key(path: Path) -> bytes:
    """Return the key kept in ``path``, made at first use, readable by its owner only."""
    if not path.exists():
        _write_secret(path, secrets.token_hex(32))
    return path.read_bytes()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write_secret(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)  # mode 0600 from the start
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(descriptor)
    Path(temporary).replace(path)
