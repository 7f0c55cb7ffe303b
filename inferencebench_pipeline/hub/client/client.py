"""The calls of a Hub that this project makes, reduced to a dozen.

Every call ends in time, is retried by one bounded policy, and fails with a type and a message that
say what to do. Reads never touch the library's cache: its key has no endpoint, and it serves stale
files for a repository that is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, Final, Literal, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

import httpx2

from inferencebench_pipeline.hub.client import transport
from inferencebench_pipeline.hub.client.account import Account, account_of
from inferencebench_pipeline.hub.client.budget import RateBudget
from inferencebench_pipeline.hub.client.errors import (
    HubConflictError,
    HubHeadMovedError,
    HubIntegrityError,
    HubNotFoundError,
    HubPermissionError,
    HubRateLimitError,
    HubRejectedError,
    HubUnavailableError,
)
from inferencebench_pipeline.hub.client.failures import LIBRARY_ERRORS, tells_a_token, translate
from inferencebench_pipeline.hub.client.repo import HubFile, PullRequest, Repo, RepoHead
from inferencebench_pipeline.hub.client.retry import RetryPolicy
from inferencebench_pipeline.hub.client.transport import hf_raise_for_status
from inferencebench_pipeline.hub.client.upload import send_commit
from inferencebench_pipeline.hub.client.wire import Wire, json_objects, json_of, reading
from inferencebench_pipeline.untrusted import printable, within

__all__ = [
    "Account",
    "Hub",
    "HubConflictError",
    "HubFile",
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
_MAX_LISTED_BYTES = 512 * 1024 * 1024
"""Bound on the bytes of one list, whose reader may keep every line of it."""
READINGS: Final = 3
"""Downloads that must all differ from what is expected before that is believed."""
# The Hub leaves all of these out of a list unless they are asked for by name.
_BARE_PROPERTIES = ("sha", "createdAt", "lastModified")
_LISTED_PROPERTIES = ("sha", "cardData", "createdAt", "lastModified", "siblings")


class Hub:
    """One Hub endpoint, and whose token is used there."""

    def __init__(
        self,
        endpoint: str,
        token: Callable[[], str | None],
        *,
        timeouts: transport.Timeouts | None = None,
        retry: RetryPolicy | None = None,
        budget: RateBudget | None = None,
    ) -> None:
        """Make a client; nothing is sent yet.

        Args:
            endpoint: base URL, such as ``https://huggingface.co``.
            token: asked at every request, so that a rotated token is picked up.
            timeouts: of a single request. ``huggingface_hub`` has one HTTP client per process;
                the last Hub made decides for all.
            retry: when to try again.
            budget: what the requests count against; one of its own otherwise.

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
        self.budget = budget or RateBudget()
        self._accounts: dict[str, Account] = {}
        transport.install(timeouts or transport.Timeouts())

    def page_url(self, repo: Repo) -> str:
        """Return the address of the repository's page."""
        return f"{self.endpoint}/{repo.url_path}"

    # -- reading ---------------------------------------------------------------------------------

    def head(self, repo: Repo, revision: str = "main") -> RepoHead:
        """Return the commit ``revision`` points to, and what the Hub says of each file there.

        Raises:
            HubNotFoundError: no such repository or revision, as far as the token may see.
        """

        def ask(wire: Wire) -> RepoHead:
            place = f"{repo.api_path}/revision/{quote(revision, safe='')}?blobs=true"
            answer = wire.get_object(wire.url(place))
            with reading(f"the answer about {repo.kind} {repo.id}"):
                return RepoHead(
                    # A repository without any commit has no sha.
                    commit=str(answer["sha"]) if answer.get("sha") else None,
                    listing={
                        str(file["rfilename"]): HubFile(
                            size_bytes=int(file["size"]),
                            oid=str(file["lfs"]["sha256"] if file.get("lfs") else file["blobId"]),
                        )
                        for file in answer["siblings"]
                    },
                )

        return self._call(f"read {repo.kind} {repo.id} at {revision}", ask)

    def find(self, repo: Repo) -> RepoHead | None:
        """Return the head of ``main``, or ``None`` when the Hub says twice that there is no such.

        For callers that do something else then: one wrong "not found", as from a replica that
        lags, must not decide for them.
        """
        for _ in range(2):
            with contextlib.suppress(HubNotFoundError):
                return self.head(repo)
        return None

    def fetch(
        self, repo: Repo, revision: str, path: str, *, max_bytes: int = MAX_FILE_BYTES
    ) -> bytes:
        """Return the bytes of ``path`` at the commit ``revision``, from the wire.

        Raises:
            HubNotFoundError: not there.
            HubIntegrityError: ``revision`` is not a full commit id (a branch may move between
                two reads), the answer is of another commit, or larger than ``max_bytes``.
        """
        url = self._file_url(repo, revision, path)
        return self._call(
            f"download {path} of {repo.id} at {revision[:12]}",
            lambda wire: wire.download(
                url, revision, max_bytes=max_bytes, deadline_s=self._retry.deadline_s
            ),
        )

    def fetch_into(
        self, into: IO[bytes], repo: Repo, revision: str, path: str, *, max_bytes: int
    ) -> None:
        """Write the bytes of ``path`` at the commit ``revision`` into a file that has nothing else.

        For a file that may be large, which memory never holds.

        Raises:
            HubNotFoundError, HubIntegrityError: as in :meth:`fetch`.
            OSError: there is no room for it.
        """
        url = self._file_url(repo, revision, path)
        self._call(
            f"download {path} of {repo.id} at {revision[:12]}",
            lambda wire: wire.download_into(
                into, url, revision, max_bytes=max_bytes, deadline_s=self._retry.deadline_s
            ),
        )

    def _file_url(self, repo: Repo, revision: str, path: str) -> str:
        if not _FULL_COMMIT.fullmatch(revision):
            raise HubIntegrityError(
                f"{path} of {repo.id} was asked for at {revision!r}; name the full commit id, "
                "since a branch may move between two reads"
            )
        return f"{self.page_url(repo)}/resolve/{revision}/{quote(path)}"

    def read(self, repo: Repo, head: RepoHead, path: str) -> bytes:
        """Return the bytes of ``path`` at ``head``, equal to the hash the Hub lists for them.

        For a file that is edited and written back: a transfer that was damaged, or a proxy's page
        in its place, must not become its content.

        Raises:
            HubNotFoundError: ``head`` does not list it.
            HubIntegrityError: no download has the listed hash.
        """
        if head.commit is None or path not in head.listing:
            raise HubNotFoundError(f"{self.page_url(repo)} has no {path} at {head.commit}")
        data = self.fetch_expected(repo, head.commit, path, head.listing[path].is_of)
        if data is None:
            raise HubIntegrityError(
                f"{self.page_url(repo)} lists another {path} at {head.commit} than it serves, in "
                f"each of {READINGS} downloads; nothing was changed, report it to the Hub"
            )
        return data

    def fetch_expected(
        self, repo: Repo, commit: str, path: str, is_expected: Callable[[bytes], bool]
    ) -> bytes | None:
        """Return the bytes of ``path`` that are as expected, or ``None`` when they never are.

        A transfer may be damaged, so a difference must show in each of :data:`READINGS` downloads
        before it is believed.

        Raises:
            HubNotFoundError: there is no such file at the commit.
        """
        for _ in range(READINGS):
            data = self.fetch(repo, commit, path)
            if is_expected(data):
                return data
        return None

    def list_datasets(
        self, author: str, tag: str, *, page_size: int = 500
    ) -> Iterator[dict[str, Any]]:
        """Yield the datasets of ``author`` that carry ``tag``, as the API describes them.

        With ``sha``, ``cardData``, ``createdAt``, ``lastModified`` and ``siblings`` (the files'
        names): one request per page, each retried on its own.
        """
        asked = [("author", author), ("filter", tag)]
        return self._list("datasets", asked, f"of {author}", page_size)

    def list_tagged_datasets(self, tag: str, *, page_size: int = 500) -> Iterator[dict[str, Any]]:
        """Yield the datasets of everybody that carry ``tag``, the last modified first.

        Without their cards and files, which strangers may make as large as they like. Anybody may
        tag anything: take as many as you can bear.
        """
        asked = [("filter", tag), ("sort", "lastModified"), ("direction", "-1")]
        return self._list("datasets", asked, f"tagged {tag}", page_size, _BARE_PROPERTIES)

    def list_models(self, author: str, *, page_size: int = 500) -> Iterator[dict[str, Any]]:
        """Yield the models of ``author``, described like :meth:`list_datasets` does."""
        return self._list("models", [("author", author)], f"of {author}", page_size)

    def _list(
        self,
        kind: str,
        asked: Sequence[tuple[str, str]],
        which: str,
        page_size: int,
        properties: Sequence[str] = _LISTED_PROPERTIES,
    ) -> Iterator[dict[str, Any]]:
        first = httpx2.URL(
            f"{self.endpoint}/api/{kind}",
            # The Hub's own JavaScript client asks for 500 a page at most.
            params=[*asked, ("limit", str(page_size))] + [("expand", key) for key in properties],
        )
        doing = f"list {kind} {which}"
        url: str | None = str(first)
        # A Hub that links a page to itself would otherwise be read for ever.
        seen: set[str] = set()
        asked_s, listed_bytes = 0.0, 0
        while url is not None:
            if url in seen or len(seen) == _MAX_PAGES or listed_bytes > _MAX_LISTED_BYTES:
                raise HubIntegrityError(
                    f"the list of {kind} {which} does not end; is the Hub looping?"
                )
            seen.add(url)
            began_s = time.monotonic()
            # The pages have one deadline together; the caller's time between them is its own.
            page = self._page(url, doing, max(0.0, self._retry.deadline_s - asked_s))
            asked_s += time.monotonic() - began_s
            listed_bytes += page.size_bytes
            url = page.following
            yield from page.rows

    def account(self) -> Account:
        """Return whose token this is, and what it may do; asked once for each token.

        The Hub limits this one call more strictly than any other.

        Raises:
            HubPermissionError: no token, or not a valid one.
        """

        def ask(wire: Wire) -> Account:
            # Remembered by a digest, so that the token itself is not kept.
            digest = hashlib.sha256(wire.require_token().encode()).hexdigest()
            if digest not in self._accounts:
                answer = wire.get_object(wire.url("api/whoami-v2"))
                with reading("the answer about the token"):
                    self._accounts[digest] = account_of(answer)
            return self._accounts[digest]

        return self._call("ask who the token belongs to", ask)

    def pull_requests(self, repo: Repo) -> list[PullRequest]:
        """Return all pull requests of ``repo``, on every page, in every status, drafts included."""

        def ask(wire: Wire) -> list[PullRequest]:
            found: list[PullRequest] = []
            # Bounded, because the Hub's own count decides where the list ends.
            for page in range(_MAX_PAGES):
                query = f"type=pull_request&status=all&p={page}"
                answer = wire.get_object(wire.url(f"{repo.api_path}/discussions?{query}"))
                with reading(f"the list of pull requests of {repo.id}"):
                    found += _pull_requests(answer)
                    seen = answer["start"] + len(answer["discussions"])
                    if not answer["discussions"] or seen >= answer["count"]:
                        return found
            raise HubIntegrityError(f"the list of pull requests of {repo.id} does not end")

        return self._call(f"list pull requests of {repo.id}", ask)

    def settle(self, attempt: int) -> None:
        """Wait before asking number ``attempt`` (from 1) what a write of ours, or another's, did.

        Writers that collide are spread by it, and replicas get time to show what was written.
        """
        self._retry.pause(attempt)

    # -- writing ---------------------------------------------------------------------------------

    def create(self, repo: Repo) -> bool:
        """Create a public repository; return whether it is new.

        Ask :meth:`head` first: creating spends an hourly quota even when the repository exists.
        The request is sent from here because the library repeats it without pause and without end
        while another creation is in progress.

        Raises:
            HubPermissionError: the token may not create it.
        """
        name = repo.id.removeprefix(f"{repo.namespace}/")

        def ask(wire: Wire) -> bool:
            body = {"name": name, "organization": repo.namespace, "type": repo.kind}
            response = wire.post("api/repos/create", body)
            if response.status_code == 409 and _names_a_url(response):
                return False
            hf_raise_for_status(response)
            return True

        return self._call(f"create {repo.kind} {repo.id}", ask)

    def commit(
        self,
        repo: Repo,
        files: Mapping[str, bytes | None],
        *,
        message: str,
        parent: str | None,
        revision: str = "main",
    ) -> str:
        """Put ``files`` in one commit on top of ``parent``; return the commit's id.

        ``None`` for content removes the file. With ``None`` as parent files are only added: a path
        that holds other content is refused like a branch that moved. A repetition after a lost
        response adds nothing: the Hub reports the files as already there, and the id of the head
        that holds them is returned.

        Raises:
            HubHeadMovedError: ``revision`` no longer points to ``parent``; also when a removal is
                repeated after a lost response.
            HubRejectedError: the front matter of ``README.md`` is not accepted.
        """
        sent_bytes = sum(len(data) for data in files.values() if data is not None)
        return self._call(
            f"commit to {repo.kind} {repo.id}",
            lambda wire: send_commit(
                wire, repo, files, message=message, parent=parent, revision=revision
            ),
            sending_s=sent_bytes / transport.SLOWEST_UPLOAD_BYTES_PER_S,
        )

    def open_draft(self, repo: Repo, *, title: str, description: str) -> int:
        """Open a draft pull request without changes and return its number.

        Sent once: a repetition after a lost response would open a second one. Look for one of
        ours with :meth:`pull_requests` before every call.
        """

        def ask(wire: Wire) -> int:
            body = {"title": title, "description": description, "pullRequest": True}
            answer = wire.post_for_object(f"{repo.api_path}/discussions", body)
            with reading(f"the answer about a new pull request on {repo.id}"):
                return int(answer["num"])

        return self._once(f"open a pull request on {repo.id}", ask)

    def rename_pull_request(self, repo: Repo, number: int, title: str) -> None:
        """Give a pull request of ours another title."""

        def ask(wire: Wire) -> None:
            wire.post_for_object(f"{repo.api_path}/discussions/{number}/title", {"title": title})

        self._call(f"rename pull request {number} of {repo.id}", ask)

    def submit_draft(self, repo: Repo, number: int) -> None:
        """Turn a draft pull request into an open one; one that is no draft stays as it is."""
        self._set_status(repo, number, "open", live=frozenset({"draft"}), comment=None)

    def close_pull_request(self, repo: Repo, number: int, *, comment: str) -> None:
        """Close a pull request with a comment; one that is closed or merged stays as it is."""
        self._set_status(repo, number, "closed", live=frozenset({"draft", "open"}), comment=comment)

    def _set_status(
        self,
        repo: Repo,
        number: int,
        status: Literal["open", "closed"],
        *,
        live: frozenset[str],
        comment: str | None,
    ) -> None:
        place = f"{repo.api_path}/discussions/{number}"

        def ask(wire: Wire) -> None:
            wire.require_token()
            # Looked up on each attempt: opening an open one, as after a lost response, is an error.
            answer = wire.get_object(wire.url(place))
            with reading(f"the answer about pull request {number} of {repo.id}"):
                is_live = str(answer["status"]) in live
            if is_live:
                said = {} if comment is None else {"comment": comment}
                wire.post_for_object(f"{place}/status", {"status": status, **said})

        self._call(f"make pull request {number} of {repo.id} {status}", ask)

    # -- how -------------------------------------------------------------------------------------

    def _call(
        self,
        doing: str,
        ask: Callable[[Wire], T],
        *,
        sending_s: float = 0.0,
        deadline_s: float | None = None,
    ) -> T:
        """Return what ``ask`` returns, repetitions and waits included in time.

        Args:
            doing: the action, for messages.
            ask: sends the requests.
            sending_s: how much longer than the retry policy's deadline an upload may take.
            deadline_s: instead of the retry policy's.
        """
        allowed_s = self._retry.deadline_s if deadline_s is None else deadline_s
        with within(allowed_s + sending_s):
            return self._retry.run(lambda: self._once(doing, ask))

    def _once(self, doing: str, ask: Callable[[Wire], T]) -> T:
        token = self._token() or None
        # A line break in a token could become a header of its own.
        if token is not None and not _HEADER_SAFE.fullmatch(token):
            raise HubPermissionError(
                "the Hub token holds characters that no token has (a line break, a space?); "
                "check HF_TOKEN or the file HF_TOKEN_PATH names"
            )
        try:
            with self.budget.active():
                return ask(Wire(self.endpoint, token))
        except LIBRARY_ERRORS as error:
            # Loggers print causes as well, and the library's may quote the request with its token.
            cause = None if tells_a_token(error, token) else error
            raise translate(error, f"{doing} at {self.endpoint}", token) from cause

    def _page(self, url: str, doing: str, deadline_s: float) -> _Page:
        def ask(wire: Wire) -> _Page:
            response = wire.get(url)
            rows = json_objects(json_of(response), url)
            following = response.links.get("next", {}).get("url")
            if following is not None:
                if not wire.is_ours(following):
                    raise HubIntegrityError(
                        f"{printable(url)} continues at another host; the token is not sent there"
                    )
                if httpx2.URL(following).path != httpx2.URL(url).path:
                    raise HubIntegrityError(
                        f"{printable(url)} continues with another list; is this endpoint a Hub?"
                    )
            return _Page(rows, following, len(response.content))

        return self._call(doing, ask, deadline_s=deadline_s)


class _Page(NamedTuple):
    """One page of a list, with the address of the next."""

    rows: list[dict[str, Any]]
    following: str | None
    """Address of the next one."""
    size_bytes: int


def _pull_requests(answer: Mapping[str, Any]) -> list[PullRequest]:
    """Return the pull requests on one page of a repository's discussions."""
    return [
        PullRequest(
            number=int(row["num"]),
            title=str(row["title"]),
            author=str((row.get("author") or {}).get("name", "deleted")),
            status=str(row["status"]),
        )
        for row in answer["discussions"]
        if row["isPullRequest"] is True
    ]


def _names_a_url(response: httpx2.Response) -> bool:
    """Return whether a 409 says "exists already" (with an address) and not "locked, come back"."""
    try:
        answer = json_of(response)
    except ValueError:
        return False
    return isinstance(answer, dict) and "url" in answer
