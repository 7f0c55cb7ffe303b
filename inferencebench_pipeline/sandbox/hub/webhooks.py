"""Webhooks: the registered watchers, and the reports of pushes to them over HTTP.

Deliveries go to loopback only and are tried once; like the Hub, a webhook is triggered at most a
thousand times a day. What is lost stays lost: whoever listens must poll as well.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, TypeAdapter

from inferencebench_pipeline.files import write_atomically
from inferencebench_pipeline.sandbox.hub.errors import HubError
from inferencebench_pipeline.sandbox.hub.names import RepoId
from inferencebench_pipeline.sandbox.hub.repository import MAIN, Repository

DAILY_LIMIT = 1000
_DAY_S = 86_400.0
_TIMEOUT_S = 5.0


class Watched(BaseModel):
    """A namespace or a repository that a webhook watches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["bucket", "dataset", "model", "org", "space", "user"]
    name: str

    def covers(self, repo: RepoId) -> bool:
        """Return whether the webhook watches ``repo``."""
        if self.type in ("org", "user"):
            return self.name == repo.owner
        return (self.type, self.name) == (repo.kind.value, repo.full_name)


class Webhook(BaseModel):
    """A registered webhook with its secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    owner: str
    url: str
    watched: tuple[Watched, ...]
    domains: tuple[Literal["repo", "discussion"], ...]
    secret: str | None = None
    disabled: bool = False

    def wire(self) -> dict[str, Any]:
        """Return the webhook as the client reads it."""
        return self.model_dump(mode="json", exclude={"owner"}, exclude_none=True) | {"job": None}


_REGISTER = TypeAdapter(tuple[Webhook, ...])


class Webhooks:
    """The webhooks of one Hub, kept in ``<hub>/webhooks.json``."""

    def __init__(self, root: Path) -> None:
        self._path = root / "webhooks.json"
        self._lock = threading.Lock()
        self._deliveries = ThreadPoolExecutor(2, thread_name_prefix="webhook")
        self._triggered: dict[str, deque[float]] = {}
        self._hooks: tuple[Webhook, ...] = (
            _REGISTER.validate_json(self._path.read_bytes()) if self._path.exists() else ()
        )

    def of(self, owner: str) -> list[Webhook]:
        """Return the webhooks of a user."""
        return [hook for hook in self._hooks if hook.owner == owner]

    def find(self, owner: str, hook_id: str) -> Webhook:
        """Return one webhook of a user.

        Raises:
            HubError: 404 when they have none of that id.
        """
        for hook in self.of(owner):
            if hook.id == hook_id:
                return hook
        raise HubError(404, f"Webhook {hook_id} not found")

    def put(self, hook: Webhook) -> Webhook:
        """Add or replace a webhook, durably.

        Raises:
            HubError: 400 when it would be delivered to anywhere but loopback.
        """
        if not _on_loopback(hook.url):
            raise HubError(
                400, f"The sandbox delivers webhooks on loopback only, not to {hook.url}"
            )
        with self._lock:
            kept = [other for other in self._hooks if other.id != hook.id]
            self._save((*kept, hook))
        return hook

    def change(self, owner: str, hook_id: str, change: Callable[[Webhook], Webhook]) -> Webhook:
        """Replace a webhook of a user by what ``change`` makes of it."""
        return self.put(change(self.find(owner, hook_id)))

    def delete(self, owner: str, hook_id: str) -> None:
        """Remove a webhook of a user."""
        gone = self.find(owner, hook_id)
        with self._lock:
            self._save(tuple(hook for hook in self._hooks if hook.id != gone.id))

    def content_changed(
        self, repository: Repository, base_url: str, ref: str, before: str | None, after: str
    ) -> None:
        """Report to all watchers of ``repository`` that ``ref`` moved, without waiting for them."""
        for hook in self._hooks:
            watches = any(watched.covers(repository.id) for watched in hook.watched)
            if watches and not hook.disabled and "repo" in hook.domains and self._may(hook.id):
                payload = _payload(repository, base_url, hook.id, ref, before, after)
                self._deliveries.submit(_deliver, hook, payload)

    def _may(self, hook_id: str) -> bool:
        now = time.monotonic()
        with self._lock:
            triggered = self._triggered.setdefault(hook_id, deque())
            while triggered and triggered[0] <= now - _DAY_S:
                triggered.popleft()
            if len(triggered) >= DAILY_LIMIT:
                return False
            triggered.append(now)
            return True

    def _save(self, hooks: tuple[Webhook, ...]) -> None:
        write_atomically(self._path, _REGISTER.dump_json(hooks, indent=2))
        # An atomic write leaves it readable by all, and the webhooks hold secrets.
        self._path.chmod(0o600)
        self._hooks = hooks


def new_hook_id() -> str:
    """Return an id that looks like the Hub's: 24 hex digits."""
    return uuid.uuid4().hex[:24]


def _on_loopback(url: str) -> bool:
    parts = urlsplit(url)
    try:
        return (
            parts.scheme in ("http", "https")
            and ipaddress.ip_address(parts.hostname or "").is_loopback
        )
    except ValueError:
        return parts.hostname == "localhost"


def _payload(
    repository: Repository,
    base_url: str,
    hook_id: str,
    ref: str,
    before: str | None,
    after: str,
) -> dict[str, Any]:
    repo = repository.id
    return {
        "event": {"action": "update", "scope": "repo.content"},
        "repo": {
            "type": repo.kind.value,
            "name": repo.full_name,
            "id": _object_id(repo.web_path),
            "private": repository.settings.private,
            "url": {
                "web": f"{base_url}{repo.web_path}",
                "api": f"{base_url}/api/{repo.kind.plural}/{repo.full_name}",
            },
            "headSha": repository.refs[MAIN],
            "owner": {"id": _object_id(repo.owner)},
        },
        "updatedRefs": [{"ref": ref, "oldSha": before, "newSha": after}],
        "webhook": {"id": hook_id, "version": 3},
    }


def _object_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:24]


def _deliver(hook: Webhook, payload: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json"}
    if hook.secret is not None:
        headers["X-Webhook-Secret"] = hook.secret
    request = urllib.request.Request(  # noqa: S310  (http on loopback only, see put)
        hook.url, json.dumps(payload).encode(), headers, method="POST"
    )
    # A proxy of the environment would take the delivery off this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as response:
            response.read()
    except (urllib.error.URLError, OSError):
        return


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, so that a delivery stays on loopback."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None
