"""A Hub, reduced to the dozen things this project does with one.

The only module that speaks to ``huggingface_hub``. Every call ends in time, is retried by one
bounded policy, and fails with a type and a message that say what to do. Reads never touch the
library's cache: its key has no endpoint, and it serves stale files for a repository that is gone.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlsplit

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi

from inferencebench_pipeline import __version__
from inferencebench_pipeline.hub import transport
from inferencebench_pipeline.hub.errors import (
    HubConflictError,
    HubHeadMovedError,
    HubIntegrityError,
    HubNotFoundError,
    HubPermissionError,
    HubRateLimitError,
    HubRejectedError,
    HubUnavailableError,
)
from inferencebench_pipeline.hub.failures import LIBRARY_ERRORS, translate
from inferencebench_pipeline.hub.retry import RetryPolicy
from inferencebench_pipeline.hub.transport import build_hf_headers, get_session, hf_raise_for_status

__all__ = [
    "Account",
    "Hub",
    "HubConflictError",
    "HubHeadMovedError",
    "HubIntegrityError",
    "HubNotFoundError",
    "HubPermissionError",
    "HubRateLimitError",
    "HubRejectedError",
    "HubUnavailableError",
    "PullRequest",
    "Repo",
    "RepoHead",
]

T = TypeVar("T")
MAX_FILE_BYTES = 512 * 1024 * 1024
"""Largest file read into memory; a run's traces are a few MB."""
_FULL_COMMIT = re.compile(r"[0-9a-f]{40}")
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")
_MAX_PAGES = 10_000


@dataclass(frozen=True)
class Repo:
    """A repository on the Hub."""

    kind: Literal["dataset", "model"]
    id: str

    @property
    def url_path(self) -> str:
        """Path of its page and of its files, such as ``datasets/ORG/NAME``."""
        return f"datasets/{self.id}" if self.kind == "dataset" else self.id


@dataclass(frozen=True)
class RepoHead:
    """Where a branch points, and which files it holds there."""

    commit: str | None
    """``None`` for a repository without any commit."""
    files: frozenset[str]


@dataclass(frozen=True)
class PullRequest:
    """A pull request, open or not."""

    number: int
    title: str
    author: str
    status: str
    """``draft``, ``open``, ``closed`` or ``merged``."""

    @property
    def ref(self) -> str:
        """The branch its commits go to."""
        return f"refs/pr/{self.number}"


@dataclass(frozen=True)
class Account:
    """The account a token belongs to."""

    name: str
    writable: frozenset[str]
    """Namespaces whose repositories it may change: its own, and organisations it may write in."""


class Hub:
    """One Hub endpoint, and whose token is used there."""

    def __init__(
        self,
        endpoint: str,
        token: Callable[[], str | None],
        *,
        timeouts: transport.Timeouts | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Make a client; nothing is sent yet.

        Args:
            endpoint: base URL, such as ``https://huggingface.co``.
            token: asked at every request, so that a rotated token is picked up.
            timeouts: of a single request. ``huggingface_hub`` has one HTTP client per process;
                the last Hub made decides for all.
            retry: when to try again.

        Raises:
            HubRejectedError: ``endpoint`` is not an http(s) URL.
        """
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
            raise HubRejectedError(
                f"Hub endpoint {parts.scheme}://{parts.hostname or ''} is not a URL such as "
                "https://huggingface.co (without user name); fix HF_ENDPOINT"
            )
        self.endpoint = endpoint.rstrip("/")
        self._token = token
        self._retry = retry or RetryPolicy()
        self._timeouts = timeouts or transport.Timeouts()
        self._api = HfApi(
            endpoint=self.endpoint,
            token=False,
            library_name=transport.LIBRARY_NAME,
            library_version=__version__,
        )
        transport.install(self._timeouts)

    def page_url(self, repo: Repo) -> str:
        """Return the address of the repository's page."""
        return f"{self.endpoint}/{repo.url_path}"

    # -- reading ---------------------------------------------------------------------------------

    def head(self, repo: Repo, revision: str = "main") -> RepoHead:
        """Return the commit ``revision`` points to, and the files there.

        Raises:
            HubNotFoundError: no such repository or revision, as far as the token may see.
        """

        def ask(token: str | None) -> RepoHead:
            read = self._api.dataset_info if repo.kind == "dataset" else self._api.model_info
            info = read(repo.id, revision=revision, token=token or False)
            siblings = info.siblings or []
            return RepoHead(commit=info.sha, files=frozenset(file.rfilename for file in siblings))

        return self._call(f"read {repo.kind} {repo.id} at {revision}", ask)

    def fetch(
        self, repo: Repo, revision: str, path: str, *, max_bytes: int = MAX_FILE_BYTES
    ) -> bytes:
        """Return the bytes of ``path`` at the commit ``revision``, from the wire.

        Raises:
            HubNotFoundError: not there.
            HubIntegrityError: ``revision`` is not a full commit id (a branch may move between
                two reads), the answer is of another commit, or larger than ``max_bytes``.
        """
        if not _FULL_COMMIT.fullmatch(revision):
            raise HubIntegrityError(
                f"{path} of {repo.id} was asked for at {revision!r}; name the full commit id, "
                "since a branch may move between two reads"
            )
        url = f"{self.page_url(repo)}/resolve/{revision}/{quote(path)}"
        return self._call(
            f"download {path} of {repo.id} at {revision[:12]}",
            lambda token: self._download(url, token, revision, max_bytes),
        )

    def list_datasets(
        self, author: str, tag: str, *, page_size: int = 500
    ) -> Iterator[dict[str, Any]]:
        """Yield the datasets of ``author`` that carry ``tag``, as the API describes them.

        With ``sha``, ``cardData``, ``createdAt`` and ``lastModified``: one request per page, each
        retried on its own.
        """
        first = httpx2.URL(
            f"{self.endpoint}/api/datasets",
            params=[("author", author), ("filter", tag), ("limit", str(page_size))]
            + [("expand", key) for key in ("sha", "cardData", "createdAt", "lastModified")],
        )
        url: str | None = str(first)
        for _ in range(_MAX_PAGES):
            if url is None:
                return
            rows, url = self._page(url, f"list datasets of {author}")
            yield from rows
        raise HubIntegrityError(f"the dataset list of {author} does not end; is the Hub looping?")

    def account(self) -> Account:
        """Return whose token this is, and the namespaces it may write to."""

        def ask(token: str | None) -> Account:
            answer = self._api.whoami(token=_required(token))
            name = str(answer["name"])
            writable = {
                str(organisation["name"])
                for organisation in answer.get("orgs", [])
                if organisation.get("roleInOrg") in {"admin", "write"}
            }
            return Account(name=name, writable=frozenset({name, *writable}))

        return self._call("ask who the token belongs to", ask)

    def pull_requests(self, repo: Repo) -> list[PullRequest]:
        """Return all pull requests of ``repo``, on every page, in every status, drafts included."""

        def ask(token: str | None) -> list[PullRequest]:
            found = self._api.get_repo_discussions(
                repo.id,
                repo_type=repo.kind,
                discussion_type="pull_request",
                discussion_status="all",
                token=token or False,
            )
            return [
                PullRequest(
                    number=item.num, title=item.title, author=item.author, status=item.status
                )
                for item in found
                if item.is_pull_request
            ]

        return self._call(f"list pull requests of {repo.id}", ask)

    # -- writing ---------------------------------------------------------------------------------

    def create(self, repo: Repo) -> bool:
        """Create a public repository; return whether it is new.

        Ask :meth:`head` first: creating spends an hourly quota even when the repository exists.
        The request is sent from here because the library repeats it without pause and without end
        while another creation is in progress.

        Raises:
            HubPermissionError: the token may not create it.
        """
        organisation, _, name = repo.id.partition("/")

        def ask(token: str | None) -> bool:
            response = get_session().post(
                f"{self.endpoint}/api/repos/create",
                headers=_headers(_required(token)),
                json={"name": name, "organization": organisation, "type": repo.kind},
            )
            if response.status_code == 409 and _names_a_url(response):
                return False
            hf_raise_for_status(response)
            return True

        return self._call(f"create {repo.kind} {repo.id}", ask)

    def commit(
        self,
        repo: Repo,
        files: Mapping[str, bytes],
        *,
        message: str,
        parent: str | None,
        revision: str = "main",
    ) -> str:
        """Add ``files`` in one commit on top of ``parent``; return the commit's id.

        A repetition after a lost response adds nothing: the Hub reports the files as already
        there, and the id of the head that holds them is returned.

        Raises:
            HubHeadMovedError: ``revision`` no longer points to ``parent``.
            HubRejectedError: the front matter of ``README.md`` is not accepted.
        """

        def ask(token: str | None) -> str:
            # Fresh operations on each attempt: used ones skip the check for files already there.
            # BytesIO, not bytes: bytes may go through a protocol that splits one commit in parts.
            operations = [
                CommitOperationAdd(path_in_repo=path, path_or_fileobj=io.BytesIO(data))
                for path, data in files.items()
            ]
            made = self._api.create_commit(
                repo.id,
                operations,
                commit_message=message,
                repo_type=repo.kind,
                revision=revision,
                parent_commit=parent,
                token=_required(token),
            )
            return made.oid

        return self._call(f"commit to {repo.kind} {repo.id}", ask)

    def open_draft(self, repo: Repo, *, title: str, description: str) -> int:
        """Open a draft pull request without changes and return its number.

        Sent once: a repetition after a lost response would open a second one. Look for one of
        ours with :meth:`pull_requests` before every call.
        """

        def ask(token: str | None) -> int:
            response = get_session().post(
                f"{self.endpoint}/api/{repo.kind}s/{repo.id}/discussions",
                headers=_headers(_required(token)),
                json={"title": title, "description": description, "pullRequest": True},
            )
            hf_raise_for_status(response)
            return int(response.json()["num"])

        return self._once(f"open a pull request on {repo.id}", ask)

    def submit_draft(self, repo: Repo, number: int) -> None:
        """Turn a draft pull request into an open one; one that is no draft stays as it is."""

        def ask(token: str | None) -> None:
            # Looked up on each attempt: opening an open one, as after a lost response, is an error.
            now = self._api.get_discussion_details(
                repo.id, number, repo_type=repo.kind, token=_required(token)
            )
            if now.status == "draft":
                self._api.change_discussion_status(
                    repo.id, number, "open", repo_type=repo.kind, token=token
                )

        self._call(f"submit pull request {number} of {repo.id}", ask)

    # -- how -------------------------------------------------------------------------------------

    def _call(self, doing: str, ask: Callable[[str | None], T]) -> T:
        return self._retry.run(lambda: self._once(doing, ask))

    def _once(self, doing: str, ask: Callable[[str | None], T]) -> T:
        token = self._token() or None
        if token is not None and not _HEADER_SAFE.fullmatch(token):
            raise HubPermissionError(
                "the Hub token holds characters that no token has (a line break, a space?); "
                "check HF_TOKEN or the file HF_TOKEN_PATH names"
            )
        try:
            return ask(token)
        except LIBRARY_ERRORS as error:
            raise translate(error, f"{doing} at {self.endpoint}", token) from error

    def _download(self, url: str, token: str | None, revision: str, max_bytes: int) -> bytes:
        headers = {**_headers(token), "Accept-Encoding": "identity"}
        deadline_s = time.monotonic() + self._retry.deadline_s
        with get_session().stream("GET", url, headers=headers) as response:
            if response.is_error:
                response.read()
            hf_raise_for_status(response)
            first = response.history[0] if response.history else response
            if first.headers.get("X-Repo-Commit", revision) != revision:
                raise HubIntegrityError(
                    f"{url} was answered with commit {first.headers['X-Repo-Commit']}"
                )
            data = bytearray()
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > max_bytes:
                    raise HubIntegrityError(f"{url} is larger than {max_bytes} bytes; not read")
                if time.monotonic() > deadline_s:
                    raise transport.ConnectionFailedError("the download did not end in time")
        return bytes(data)

    def _page(self, url: str, doing: str) -> tuple[list[dict[str, Any]], str | None]:
        def ask(token: str | None) -> tuple[list[dict[str, Any]], str | None]:
            response = get_session().get(url, headers=_headers(token))
            hf_raise_for_status(response)
            rows = response.json()
            following = response.links.get("next", {}).get("url")
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise HubIntegrityError(f"{url} did not answer with a list of repositories")
            if following is not None and urlsplit(following)[:2] != urlsplit(self.endpoint)[:2]:
                raise HubIntegrityError(
                    f"{url} continues at another host; the token is not sent there"
                )
            return rows, following

        return self._call(doing, ask)


def _headers(token: str | None) -> dict[str, str]:
    return build_hf_headers(
        token=token or False, library_name=transport.LIBRARY_NAME, library_version=__version__
    )


def _required(token: str | None) -> str:
    if token is None:
        raise HubPermissionError(
            "no Hub token: set HF_TOKEN, or HF_TOKEN_PATH to a file that holds one, with write "
            "access to the namespace"
        )
    return token


def _names_a_url(response: httpx2.Response) -> bool:
    """Whether a 409 says "exists already" (with its address) and not "locked, come back"."""
    try:
        return "url" in response.json()
    except ValueError:
        return False
