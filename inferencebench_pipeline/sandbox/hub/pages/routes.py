"""The pages: all repositories, one repository, its files, commits and discussions."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from inferencebench_pipeline.sandbox.hub import discussions
from inferencebench_pipeline.sandbox.hub.context import (
    REPO_WEB,
    caller_of,
    hub_of,
    param,
    visible_repository,
)
from inferencebench_pipeline.sandbox.hub.describe import card_of, tags_of
from inferencebench_pipeline.sandbox.hub.errors import HubError, entry_not_found
from inferencebench_pipeline.sandbox.hub.names import RepoKind
from inferencebench_pipeline.sandbox.hub.objects import Commit
from inferencebench_pipeline.sandbox.hub.pages.markdown import render_markdown
from inferencebench_pipeline.sandbox.hub.repository import Repository, changed_paths

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'none'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_SHOWN_TEXT_BYTES = 200_000
_HISTORY_SHOWN = 100


def home(request: Request) -> Response:
    """List every repository the caller may see, newest first."""
    caller = caller_of(request)
    sections = []
    for kind in (RepoKind.DATASET, RepoKind.MODEL, RepoKind.SPACE):
        found = [
            repository
            for repository in hub_of(request).store.all(kind)
            if not repository.settings.private or caller.may_read_private(repository.id.owner)
        ]
        found.sort(key=lambda repository: repository.head.created_at, reverse=True)
        rows = [(repository, tags_of(repository)) for repository in found]
        if rows or kind is not RepoKind.SPACE:
            sections.append((kind.plural.capitalize(), rows))
    return _page("home.html", sections=sections)


def repository_page(request: Request) -> Response:
    """Show the card and the files at main, or at the revision of a ``/tree/`` address."""
    repository = visible_repository(request)
    revision = param(request, "revision") if "revision" in request.path_params else "main"
    commit = repository.resolve(revision)
    card = card_of(repository, commit)
    body = render_markdown(card.body, repo_path=repository.id.web_path, revision=revision)
    return _repository_page(
        "repository.html",
        repository,
        revision=revision,
        commit=commit,
        metadata=card.data,
        # Safe to pass unescaped: the renderer escapes every piece of the card.
        body=Markup(body),  # noqa: S704
    )


def blob(request: Request) -> Response:
    """Show one file as text when it is short, and otherwise a link to download it."""
    repository = visible_repository(request)
    revision, path = param(request, "revision"), param(request, "path")
    commit = repository.resolve(revision)
    entry = commit.tree.get(path)
    if entry is None:
        raise entry_not_found(commit.oid)
    text = None
    if entry.lfs_sha256 is None and entry.size_bytes <= _SHOWN_TEXT_BYTES:
        content = repository.objects.blob_path(entry.oid).read_bytes()
        # A file with a NUL byte is binary, as git takes it.
        text = None if b"\0" in content else content.decode("utf-8", errors="replace")
    return _repository_page(
        "blob.html",
        repository,
        revision=revision,
        commit=commit,
        path=path,
        entry=entry,
        text=text,
    )


def commit_page(request: Request) -> Response:
    """Show one commit and the files it changed."""
    repository = visible_repository(request)
    commit = repository.resolve(param(request, "revision"))
    before: Commit | None = repository.objects.commit(commit.parents[0]) if commit.parents else None
    paths = changed_paths(before, commit) if before else dict(commit.tree)
    changes = [
        (
            path,
            entry,
            "deleted"
            if entry is None
            else "changed"
            if before and path in before.tree
            else "added",
        )
        for path, entry in paths.items()
    ]
    return _repository_page("commit.html", repository, commit=commit, changes=changes)


def history(request: Request) -> Response:
    """Show the newest commits of a revision."""
    repository = visible_repository(request)
    revision = param(request, "revision")
    chain = list(repository.history(repository.resolve(revision)))
    shown = chain[:_HISTORY_SHOWN]
    return _repository_page(
        "commits.html", repository, revision=revision, commits=shown, total=len(chain)
    )


def discussion_list(request: Request) -> Response:
    """List discussions and pull requests."""
    repository = visible_repository(request)
    found = discussions.load_all(repository)
    return _repository_page("discussions.html", repository, discussions=found)


def discussion_page(request: Request) -> Response:
    """Show one discussion or pull request with its events and changed files."""
    repository = visible_repository(request)
    discussion = discussions.load(repository, request.path_params["num"])
    changed: list[str] = []
    if discussion.base is not None:
        base = repository.objects.commit(discussion.base)
        changed = list(changed_paths(base, repository.resolve(discussion.ref)))
    return _repository_page("discussion.html", repository, discussion=discussion, changed=changed)


def _html_errors(page: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """Answer the errors of a page as a page, with the headers a client would look for."""

    def answering(request: Request) -> Response:
        try:
            return page(request)
        except HubError as error:
            response = _page("error.html", status=error.status, message=str(error))
            response.status_code = error.status
            if error.code is not None:
                response.headers["X-Error-Code"] = error.code
            return response

    return answering


def _size(size_bytes: int) -> str:
    for factor, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} B"


def _when(instant: str) -> str:
    return f"{instant[:10]} {instant[11:19]} UTC"


def _segment(text: str) -> str:
    return quote(text, safe="")


_TEMPLATES = Environment(
    loader=PackageLoader("inferencebench_pipeline.sandbox.hub.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {"size": _size, "when": _when, "segment": _segment, "path": quote}


def _page(template: str, **context: object) -> HTMLResponse:
    return HTMLResponse(_TEMPLATES.get_template(template).render(context), headers=_HEADERS)


def _repository_page(template: str, repository: Repository, **context: object) -> HTMLResponse:
    return _page(template, repo=repository, home=repository.id.web_path, **context)


_PAGES = {
    "/": home,
    REPO_WEB: repository_page,
    f"{REPO_WEB}/tree/{{revision}}": repository_page,
    f"{REPO_WEB}/blob/{{revision}}/{{path:path}}": blob,
    f"{REPO_WEB}/commit/{{revision}}": commit_page,
    f"{REPO_WEB}/commits/{{revision}}": history,
    f"{REPO_WEB}/discussions": discussion_list,
    f"{REPO_WEB}/discussions/{{num:int}}": discussion_page,
}

routes = [Route(path, _html_errors(page), methods=["GET"]) for path, page in _PAGES.items()]
