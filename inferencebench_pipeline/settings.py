"""What the environment says: where the state lies, which Hub, which trust, whose namespace.

Production and sandbox differ in these values and in nothing else. Secrets are never values here:
a token is read from the environment or its file at the moment it is needed.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from inferencebench_pipeline.errors import PermanentError

DEFAULT_HUB_ENDPOINT = "https://huggingface.co"
ENGINE_KEYS_VARIABLE = "INFERENCEBENCH_ENGINE_KEYS"


class SettingsError(PermanentError):
    """An environment variable is missing or has a value that cannot be used."""


@dataclass(frozen=True)
class Settings:
    """One deployment, as read from environment variables by :meth:`from_environment`."""

    home: Path
    """``INFERENCEBENCH_HOME``: run store, corpus and index live below it."""
    specs: Path
    """``INFERENCEBENCH_SPECS``: folder of benchmark specs."""
    inbox: str | None
    """``INFERENCEBENCH_INBOX``: where other hosts leave finished runs; a path or an fsspec URL."""
    prices: Path | None
    """``INFERENCEBENCH_PRICES``: dated, reviewed prices of accelerators; no costs when unset."""
    hub_endpoint: str
    """``HF_ENDPOINT``: the Hub, without trailing slash."""
    organisation: str | None
    """``INFERENCEBENCH_ORGANISATION``: the Hub namespace results are published under."""
    trust_config: Path | None
    """``INFERENCEBENCH_TRUST_CONFIG``: Sigstore ClientTrustConfig; the pinned public-good when
    unset."""
    policy: Path | None
    """``INFERENCEBENCH_POLICY``: the reviewed identity policy."""
    identity_token_file: Path | None
    """``INFERENCEBENCH_IDENTITY_TOKEN_FILE``: a projected OIDC token; ambient when unset."""
    identity_token_command: tuple[str, ...]
    """``INFERENCEBENCH_IDENTITY_TOKEN_COMMAND``: prints an OIDC token; split as a shell would."""
    dev_key: Path | None
    """``INFERENCEBENCH_DEV_KEY``: an Ed25519 key to sign with instead; never publishable."""
    log_viewer: str | None
    """``INFERENCEBENCH_LOG_VIEWER``: page of a log entry, with ``{index}`` in it, for links."""
    update_model_card: bool
    """``INFERENCEBENCH_UPDATE_MODEL_CARD``: ``1`` opts in to the model-card backlink."""
    open_pull_requests: bool
    """``INFERENCEBENCH_OPEN_PULL_REQUESTS``: ``1`` allows pull requests on models of others."""
    outage_retries: int
    """``INFERENCEBENCH_OUTAGE_RETRIES``: how often a step repeats itself after an outage."""
    outage_wait_s: float
    """``INFERENCEBENCH_OUTAGE_WAIT_S``: seconds between them, when the server gives no hint."""

    @property
    def store(self) -> Path:
        """Root of the run store, the corpus and the leaderboard."""
        return self.home / "store"

    @property
    def trust_store(self) -> Path:
        """Where the versions of the public-good trust root are kept."""
        return self.home / "trust"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings from ``environ``; everything has a default but the organisation.

        Raises:
            SettingsError: a variable has a value that cannot be used.
        """
        home = Path(environ.get("INFERENCEBENCH_HOME") or ".inferencebench").absolute()
        shipped_specs = Path(__file__).resolve().parent.parent / "specs"
        return cls(
            home=home,
            specs=_path(environ, "INFERENCEBENCH_SPECS") or shipped_specs,
            inbox=environ.get("INFERENCEBENCH_INBOX") or None,
            prices=_path(environ, "INFERENCEBENCH_PRICES"),
            hub_endpoint=(environ.get("HF_ENDPOINT") or DEFAULT_HUB_ENDPOINT).rstrip("/"),
            organisation=environ.get("INFERENCEBENCH_ORGANISATION") or None,
            trust_config=_path(environ, "INFERENCEBENCH_TRUST_CONFIG"),
            policy=_path(environ, "INFERENCEBENCH_POLICY"),
            identity_token_file=_path(environ, "INFERENCEBENCH_IDENTITY_TOKEN_FILE"),
            identity_token_command=_words(environ, "INFERENCEBENCH_IDENTITY_TOKEN_COMMAND"),
            dev_key=_path(environ, "INFERENCEBENCH_DEV_KEY"),
            log_viewer=environ.get("INFERENCEBENCH_LOG_VIEWER") or None,
            update_model_card=_flag(environ, "INFERENCEBENCH_UPDATE_MODEL_CARD"),
            open_pull_requests=_flag(environ, "INFERENCEBENCH_OPEN_PULL_REQUESTS"),
            outage_retries=int(_number(environ, "INFERENCEBENCH_OUTAGE_RETRIES", 2)),
            outage_wait_s=_number(environ, "INFERENCEBENCH_OUTAGE_WAIT_S", 30),
        )


def hub_token(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the Hub token from ``HF_TOKEN`` or the file ``HF_TOKEN_PATH`` names, read now.

    Raises:
        SettingsError: the file is named but cannot be read.
    """
    if token := environ.get("HF_TOKEN", "").strip():
        return token
    path = _path(environ, "HF_TOKEN_PATH")
    if path is None:
        return None
    try:
        return path.read_text().strip() or None
    except OSError as error:
        raise SettingsError(
            f"HF_TOKEN_PATH names {path}, which cannot be read ({error.strerror}); "
            "set HF_TOKEN, or fix the path"
        ) from error


def alert_addresses(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return where alerts go: Apprise URLs from ``INFERENCEBENCH_ALERTS``, or the file it names.

    They are secrets, hence read at the moment of use, and separated by white space. A value that
    begins with ``@`` names the file that holds them.

    Raises:
        SettingsError: the file is named but cannot be read.
    """
    return tuple(_text_or_file(environ, "INFERENCEBENCH_ALERTS", "the list").split())


def heartbeat_url(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return what ``heartbeat`` calls: ``INFERENCEBENCH_HEARTBEAT_URL``, or the file it names.

    A secret like the addresses of alerts: whoever knows it can say that we are alive.

    Raises:
        SettingsError: the file is named but cannot be read.
    """
    return _text_or_file(environ, "INFERENCEBENCH_HEARTBEAT_URL", "the address").strip() or None


def _text_or_file(environ: Mapping[str, str], name: str, what: str) -> str:
    """Return a variable's value, or what the file holds that ``@`` in front of it names."""
    value = environ.get(name, "").strip()
    if not value.startswith("@"):
        return value
    path = Path(value[1:]).expanduser()
    try:
        return path.read_text()
    except OSError as error:
        raise SettingsError(
            f"{name} names {path}, which cannot be read ({error.strerror}); fix the path, or give "
            f"{what} itself"
        ) from error


def engine_keys(environ: Mapping[str, str] = os.environ) -> Mapping[str, frozenset[str]]:
    """Return which variables hold an API key of an engine, and the origins that may have each.

    ``INFERENCEBENCH_ENGINE_KEYS`` lists them as ``VARIABLE=https://host``, separated by spaces; a
    variable that is for several origins stands there several times.

    Raises:
        SettingsError: an entry has another form.
    """
    allowed: dict[str, set[str]] = {}
    for entry in environ.get(ENGINE_KEYS_VARIABLE, "").split():
        name, _, address = entry.partition("=")
        try:
            origin = origin_of(address)
        except ValueError:
            origin = None
        if not name or origin is None or urlsplit(address).path.rstrip("/"):
            raise SettingsError(
                f"{ENGINE_KEYS_VARIABLE} holds an entry that is not of the form "
                "VARIABLE=https://host[:port]; write for example "
                f'{ENGINE_KEYS_VARIABLE}="OPENAI_API_KEY=https://api.openai.com"'
            )  # the entry is not repeated: it may be a key
        allowed.setdefault(name, set()).add(origin)
    return {name: frozenset(origins) for name, origins in allowed.items()}


def origin_of(address: str) -> str:
    """Return scheme, host and port of an address in one spelling, as ``https://api.test:443``.

    Raises:
        ValueError: it is no http or https address, or holds credentials.
    """
    parts = urlsplit(address)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    plain = parts.scheme in ("http", "https") and parts.username is None
    if not plain or not parts.hostname or port is None:
        raise ValueError("not an address of the form https://host[:port]")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def _path(environ: Mapping[str, str], name: str) -> Path | None:
    value = environ.get(name)
    return Path(value).expanduser().absolute() if value else None


def _words(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(environ.get(name, "")))
    except ValueError as error:
        raise SettingsError(f"{name} cannot be split into words: {error}") from error


def _flag(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "").lower()
    if value in {"", "0", "false", "no"}:
        return False
    if value in {"1", "true", "yes"}:
        return True
    raise SettingsError(f"{name}={value!r} is neither 1 nor 0")


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    value = environ.get(name)
    if not value:
        return default
    try:
        number = float(value)
    except ValueError as error:
        raise SettingsError(f"{name}={value!r} is not a number") from error
    if number < 0 or number != number or number == float("inf"):
        raise SettingsError(f"{name}={value!r} must be a finite number of zero or more")
    return number
