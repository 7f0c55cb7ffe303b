"""The context of every route: the parts of the Hub, the caller, the repository, the body."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlencode

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request

from inferencebench_pipeline.sandbox.hub.errors import HubError, repository_not_found
from inferencebench_pipeline.sandbox.hub.evaluations import VerifyTokens
from inferencebench_pipeline.sandbox.hub.identities import Caller, Identities, Role
from inferencebench_pipeline.sandbox.hub.names import RepoId, RepoKind
from inferencebench_pipeline.sandbox.hub.quotas import ActionQuotas
from inferencebench_pipeline.sandbox.hub.repository import Repository
from inferencebench_pipeline.sandbox.hub.store import HubStore
from inferencebench_pipeline.sandbox.hub.webhooks import Webhooks
from inferencebench_pipeline.sandbox.hub.windows import RequestWindows

REPO_API = "/api/{kind:plural_kind}/{owner}/{name}"
"""The beginning of a repository's API paths; ``kind`` arrives as :class:`RepoKind`."""
REPO_WEB = "/{kind:kind_prefix}{owner}/{name}"
"""The beginning of the paths of its pages and files; models have no prefix."""


class _PluralKind(Convertor[RepoKind]):
    regex = "|".join(kind.plural for kind in RepoKind)

    def convert(self, value: str) -> RepoKind:
        return RepoKind(value.removesuffix("s"))

    def to_string(self, value: RepoKind) -> str:
        return value.plural


class _KindPrefix(Convertor[RepoKind]):
    regex = "(?:datasets/|spaces/)?"

    def convert(self, value: str) -> RepoKind:
        return RepoKind(value.removesuffix("s/")) if value else RepoKind.MODEL

    def to_string(self, value: RepoKind) -> str:
        return value.url_prefix


register_url_convertor("plural_kind", _PluralKind())
register_url_convertor("kind_prefix", _KindPrefix())


@dataclass(frozen=True)
class Hub:
    """The parts of the running Hub, in ``app.state.hub``."""

    store: HubStore
    identities: Identities
    quotas: ActionQuotas
    base_url: str
    webhooks: Webhooks
    verify_tokens: VerifyTokens = field(repr=False)
    windows: RequestWindows
    upload_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """Signs upload URLs; they live as long as the process."""

    def url(self, path: str) -> str:
        """Return the absolute URL of ``path``."""
        return f"{self.base_url}{path}"


def hub_of(request: Request) -> Hub:
    """Return the Hub that answers ``request``."""
    hub = request.app.state.hub
    assert isinstance(hub, Hub)
    return hub


def caller_of(request: Request) -> Caller:
    """Return the caller of ``request``.

    Raises:
        HubError: 401 for a bad token.
    """
    return hub_of(request).identities.caller(request.headers.get("authorization"))


def writer_of(request: Request) -> Caller:
    """Return the caller, who must hold a token with write scope.

    Raises:
        HubError: 401 without a token, 403 with a read token.
    """
    caller = caller_of(request)
    if caller.name is None:
        raise HubError(401, "Invalid username or password.")
    if caller.scope is not Role.WRITE:
        raise HubError(
            403,
            "Forbidden: you must use a write token to upload to a repository or to change it",
        )
    return caller


def param(request: Request, name: str) -> str:
    """Return a path parameter, percent-decoded: routes match the raw path, see ``app``."""
    return unquote(request.path_params[name])


def visible_repository(request: Request) -> Repository:
    """Return the repository that the path names, when the caller may know it exists.

    Raises:
        HubError: RepoNotFound; 401 for a bad token.
    """
    caller = caller_of(request)
    kind: RepoKind = request.path_params["kind"]
    repo_id = RepoId(kind, param(request, "owner"), param(request, "name"))
    repository = hub_of(request).store.find(repo_id)
    if repository is None:
        raise repository_not_found()
    if repository.settings.private and not caller.may_read_private(repo_id.owner):
        raise repository_not_found()
    return repository


def require_write(caller: Caller, repository: Repository) -> None:
    """Check that ``caller`` may commit to ``repository`` directly.

    Raises:
        HubError: 403 with the Hub's hint to open a pull request instead.
    """
    if not caller.may_write(repository.id.owner):
        raise HubError(
            403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request"
        )


async def json_body(request: Request) -> dict[str, Any]:
    """Return the body as a JSON object.

    Raises:
        HubError: 400 otherwise.
    """
    raw = await request.body()
    try:
        document = json.loads(raw) if raw else {}
    except ValueError as error:
        raise HubError(400, f"Body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise HubError(400, "Body must be a JSON object")
    return document


def text_field(document: Mapping[str, Any], name: str) -> str:
    """Return a field of a body that must be a non-empty string.

    Raises:
        HubError: 400 otherwise.
    """
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise HubError(400, f"{name!r} must be a non-empty string")
    return value


def number_field(document: Mapping[str, Any], name: str) -> int:
    """Return a field of a body that must be a whole number, not negative.

    Raises:
        HubError: 400 otherwise.
    """
    value = document.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise HubError(400, f"{name!r} must be a whole number, not negative")
    return value


def objects_field(document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a field of a body that must be a list of objects; empty when it is absent.

    Raises:
        HubError: 400 otherwise.
    """
    value = document.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise HubError(400, f"{name!r} must be a list of objects")
    return value


def number_query(request: Request, name: str, default: int) -> int:
    """Return a query parameter that must be a whole number, not negative.

    Raises:
        HubError: 400 otherwise.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit():
        raise HubError(400, f"{name}={text!r} must be a whole number, not negative")
    return int(text)


def flag(request: Request, name: str) -> bool:
    """Return whether a query parameter is set to something true."""
    return request.query_params.get(name, "").lower() in ("1", "true")


def next_link(request: Request, **changes: str) -> dict[str, str]:
    """Return the ``Link`` header to the next page: this URL with other query parameters."""
    kept = [(key, value) for key, value in request.query_params.multi_items() if key not in changes]
    query = urlencode([*kept, *changes.items()])
    # The path is the raw one, so its percent signs are encodings that must stay as they are.
    path = quote(request.scope["path"], safe="/%:@!$&'()*+,;=~-._")
    return {"Link": f'<{hub_of(request).url(path)}?{query}>; rel="next"'}
