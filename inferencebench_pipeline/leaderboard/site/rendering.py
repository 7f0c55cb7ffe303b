"""The templates, everything that they may call, and a digest of all that shapes a page."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from inferencebench_pipeline.leaderboard.site import labels
from inferencebench_pipeline.leaderboard.site.data import table_columns
from inferencebench_pipeline.measure import (
    DEFINITIONS,
    EARLIER_DEFINITIONS,
    METRIC_DEFINITIONS_VERSION,
)
from inferencebench_pipeline.untrusted import visible

PACKAGE = "inferencebench_pipeline.leaderboard.site"
# The empty name is this folder itself, whose code shapes the pages.
SHAPING = ("templates", "")
"""Folders whose files decide how a page looks, given its data."""


@cache
def environment() -> Environment:
    """Return the template environment: everything is escaped, a missing name is an error."""
    made = Environment(
        loader=PackageLoader(PACKAGE, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )
    made.filters.update(
        value=labels.format_value,
        percent=labels.format_percent,
        instant=labels.format_instant,
        day=labels.format_day,
        http_url=labels.http_url,
        unit=labels.unit_words,
    )
    made.globals.update(
        states=labels.STATES,
        mild=labels.MILD_STATES,
        tiers=labels.TIERS,
        metric_words=labels.metric_words,
        is_foreign=labels.is_foreign,
        run_page=run_page,
        model_page=model_page,
        hardware_page=hardware_page,
        table_columns=table_columns,
    )
    return made


def _shown(value: object) -> object:
    """Return what a page says, with no character in it that acts or hides.

    Rows come printable from the index; a run's page also quotes its envelope.
    """
    if not isinstance(value, str):
        return value
    # Markup stays Markup, or Jinja would escape what a template has escaped already.
    return Markup(visible(value)) if isinstance(value, Markup) else visible(value)  # noqa: S704


def render(template: str, **values: object) -> bytes:
    """Return the HTML of a page."""
    return environment().get_template(template).render(**values).encode()


def run_page(row_id: str) -> str:
    """Return where a run's page lies; two letters of fan-out keep folders listable on the Hub."""
    return f"runs/{row_id[:2]}/{row_id}.html"


def model_page(model_id: str) -> str:
    """Return where a model's page lies: a hash, because the id is a stranger's text."""
    return f"models/{short_hash(model_id)}.html"


def hardware_page(hardware: str) -> str:
    """Return where a kind of hardware's page lies."""
    return f"hardware/{short_hash(hardware)}.html"


def short_hash(text: str) -> str:
    """Return 16 hex digits that name a file."""
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


@cache
def renderer_digest() -> str:
    """Return a digest of templates, page code and metric definitions.

    A page whose data and whose renderer are unchanged is unchanged.
    """
    words = [(row.key, row.definition) for row in (*DEFINITIONS.values(), *EARLIER_DEFINITIONS)]
    digest = hashlib.sha256(repr((METRIC_DEFINITIONS_VERSION, words)).encode())
    for folder in SHAPING:
        for item in sorted((resources.files(PACKAGE) / folder).iterdir(), key=lambda it: it.name):
            if item.is_file():
                digest.update(item.name.encode() + b"\0" + item.read_bytes())
    return digest.hexdigest()
