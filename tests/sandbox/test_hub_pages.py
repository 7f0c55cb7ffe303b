"""What a person sees in a browser."""

from __future__ import annotations

import struct
import zlib

import pytest
from huggingface_hub.utils import httpx

from inferencebench_pipeline.sandbox.hub.pages.markdown import render_markdown
from tests.sandbox.calls import commit


def png() -> bytes:
    """One white pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0\xff\xff\xff")
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


CARD = """---
license: cc-by-4.0
tags: [inferencebench]
inferencebench:
  suite_id: llm.inference.chat
  fingerprint_sha256: abc
link: https://example.org/x
---
# A run

<script>alert("no")</script>

| metric | value |
|---|---|
| TTFT p50 | 12 ms |

![latency](plots/latency.png) ![outside](https://example.org/pixel.png)

[the envelope](envelope.json) [bad](javascript:alert(1))
"""


@pytest.fixture
def published(api, dataset) -> str:
    files = {
        "README.md": CARD.encode(),
        "envelope.json": b'{"a": "<b>"}',
        "plots/latency.png": png(),
    }
    commit(api, dataset, files, commit_message="publish <run>")
    return dataset


@pytest.fixture
def browse(sandbox):
    def get(path: str, status: int = 200) -> str:
        response = httpx.get(f"{sandbox.hub_url}{path}", trust_env=False)
        assert response.status_code == status
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "Sandbox on loopback: proves nothing to anyone else." in response.text
        return response.text

    return get


def test_the_front_page_links_every_public_repository(api, published, new_name, browse):
    hidden = new_name()
    api.create_repo(hidden, repo_type="dataset", private=True)
    html = browse("/")
    assert f'href="/datasets/{published}"' in html
    assert 'href="/HuggingFaceTB/SmolLM2-135M-Instruct"' in html
    assert hidden not in html


def test_a_dataset_page_shows_card_metadata_files_and_commit(api, published, browse):
    html = browse(f"/datasets/{published}")
    sha = api.dataset_info(published).sha
    assert f'href="/datasets/{published}/commit/{sha}"' in html
    assert "<th>suite_id</th><td>llm.inference.chat</td>" in html
    assert "<td>12 ms</td>" in html
    assert f'href="/datasets/{published}/resolve/main/envelope.json?download=1"' in html
    assert '<a href="https://example.org/x" rel="nofollow noreferrer">' in html


def test_a_cards_html_and_scripts_stay_text(published, browse):
    html = browse(f"/datasets/{published}")
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert 'href="javascript' not in html
    assert "https://example.org/pixel.png" not in html
    assert "publish &lt;run&gt;" in html


def test_a_cards_own_pictures_are_shown(sandbox, published, browse):
    html = browse(f"/datasets/{published}")
    source = f"/datasets/{published}/resolve/main/plots/latency.png"
    assert f'src="{source}"' in html
    picture = httpx.get(f"{sandbox.hub_url}{source}", trust_env=False)
    assert picture.headers["content-type"] == "image/png"
    assert picture.content == png()


def test_a_model_page_opens_without_a_prefix(browse):
    assert "A stand-in for the real card" in browse("/HuggingFaceTB/SmolLM2-135M-Instruct")


def test_files_commits_and_history_can_be_followed(api, published, browse):
    sha = api.dataset_info(published).sha
    home = f"/datasets/{published}"
    assert "{&#34;a&#34;: &#34;&lt;b&gt;&#34;}" in browse(f"{home}/blob/main/envelope.json")
    assert "Not shown" in browse(f"{home}/blob/main/plots/latency.png")
    changes = browse(f"{home}/commit/{sha}")
    assert "added" in changes
    assert "publish &lt;run&gt;" in changes
    assert "initial commit" in browse(f"{home}/commits/main")
    assert "A run" in browse(f"{home}/tree/{sha}")


def test_pull_requests_can_be_followed(api, published, browse):
    commit(api, published, {"x.txt": b"x"}, create_pr=True, commit_message="Add x")
    api.comment_discussion(published, 1, "<i>fine</i>", repo_type="dataset")
    home = f"/datasets/{published}"
    assert "Add x" in browse(f"{home}/discussions")
    shown = browse(f"{home}/discussions/1")
    assert "&lt;i&gt;fine&lt;/i&gt;" in shown
    assert f'href="{home}/blob/refs%2Fpr%2F1/x.txt"' in shown
    assert "<pre>x</pre>" in browse(f"{home}/blob/refs%2Fpr%2F1/x.txt")


@pytest.mark.parametrize("path", ["/datasets/a/b", "/a/b", "/datasets/a/b/blob/main/x"])
def test_what_is_missing_is_said_on_a_page(browse, path):
    assert "Repository not found" in browse(path, 404)


def test_a_missing_file_and_revision_are_told_apart(published, browse):
    assert "Entry not found" in browse(f"/datasets/{published}/blob/main/nope", 404)
    assert "Invalid rev id" in browse(f"/datasets/{published}/tree/nope", 404)


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("![p](a.png)", 'src="/datasets/o/n/resolve/v%2F1/a.png"'),
        ("![p](./a.png)", 'src="/datasets/o/n/resolve/v%2F1/a.png"'),
        ("![p](//evil/a.png)", "[image: p]"),
        ("[l](docs/x.md)", 'href="/datasets/o/n/blob/v%2F1/docs/x.md"'),
        ("[l](#part)", 'href="#part"'),
        ("[l](/datasets)", 'href="/datasets"'),
        ("[![p](a.png)](x.md)", 'href="/datasets/o/n/blob/v%2F1/x.md"'),
        ("<img src=x onerror=alert(1)>", "&lt;img"),
    ],
)
def test_links_and_pictures_are_looked_up_in_the_repository(markdown, expected):
    assert expected in render_markdown(markdown, repo_path="/datasets/o/n", revision="v/1")
