"""Short words for what the Hub tests do over and over."""

from __future__ import annotations

from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi
from huggingface_hub.utils import get_session


def commit(api: HfApi, repo_id: str, files: dict[str, bytes], **options: Any) -> CommitInfo:
    """Commit files to a dataset; the operations are fresh, as they must be for every attempt."""
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    options.setdefault("repo_type", "dataset")
    options.setdefault("commit_message", "test commit")
    return api.create_commit(repo_id, operations, **options)


def request(api: HfApi, method: str, path: str, **options: Any) -> Any:
    """Send a bare request to the Hub, with the token."""
    headers = {"authorization": f"Bearer {api.token}", **options.pop("headers", {})}
    return get_session().request(method, f"{api.endpoint}{path}", headers=headers, **options)


def fetch(api: HfApi, repo_id: str, path: str, revision: str = "main") -> bytes:
    """Return a dataset file as it is served, never from a cache."""
    response = request(api, "GET", f"/datasets/{repo_id}/resolve/{revision}/{path}")
    response.raise_for_status()
    return response.content
