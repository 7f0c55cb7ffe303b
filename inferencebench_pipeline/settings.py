"""The settings of a deployment as the environment states them: its state, Hub and trust.

Production and sandbox differ in these values and in nothing else. Secrets are never values here:
a token is read from the environment or its file at the moment it is needed.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import platformdirs
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.errors import PermanentError

DEFAULT_HUB_ENDPOINT = "https://huggingface.co"
ENGINE_KEYS_VARIABLE = "INFERENCEBENCH_ENGINE_KEYS"
IMAGE_DIGEST_VARIABLE: Final = "INFERENCEBENCH_IMAGE_DIGEST"
VLLM_PYTHON_VARIABLE: Final = "INFERENCEBENCH_VLLM_PYTHON"
OTHER_VARIABLES: Final[Mapping[str, str]] = {
    "HF_TOKEN": "settings.py",
    "HF_TOKEN_PATH": "settings.py",
    "INFERENCEBENCH_ALERTS": "settings.py",
    "INFERENCEBENCH_HEARTBEAT_URL": "settings.py",
    ENGINE_KEYS_VARIABLE: "settings.py",
    IMAGE_DIGEST_VARIABLE: "settings.py",
    VLLM_PYTHON_VARIABLE: "settings.py",
    "INFERENCEBENCH_WEBHOOK_SECRET": "hub/webhooks.py",
    "INFERENCEBENCH_WEBHOOK_SECRET_FILE": "hub/webhooks.py",
    "INFERENCEBENCH_UI_HOSTS": "automation/instance/webserver/guard.py",
    "INFERENCEBENCH_UI_ALLOWED_VARIABLES": "automation/instance/webserver/environment.py",
}
"""Variables that are no field of :class:`Settings`, and the file that names each.

The functions below read the secrets when they are needed, and the settings of a measuring host. The
webhook receiver and the webserver read theirs themselves, because they run without a deployment.
"""


class SettingsError(PermanentError):
    """An environment variable is missing or has a value that cannot be used."""


def _absolute(path: Path) -> Path:
    # A link is not resolved: that of a projected token is pointed to a new file now and then.
    return path.expanduser().absolute()


def _words(value: object) -> object:
    """Return a command line as its words, split as a shell would."""
    return tuple(shlex.split(value)) if isinstance(value, str) else value


def user_data() -> Path:
    """Return the folder of what belongs to the user, and to no project: the user's trust root.

    It is ``inferencebench`` in ``$XDG_DATA_HOME`` or ``~/.local/share``, or where the system keeps
    such data; never below the current directory, which may be a stranger's checkout.

    Raises:
        SettingsError: the system names no such folder by an absolute path.
    """
    path = platformdirs.user_data_path("inferencebench", appauthor=False)
    if not path.is_absolute():
        raise SettingsError(
            f"the folder of the user's data is {path}, which depends on the current directory; set "
            "HOME or XDG_DATA_HOME to an absolute path"
        )
    return path


def user_trust_store() -> Path:
    """Return the folder of the trust root that the user keeps, whatever the project.

    Raises:
        SettingsError: as :func:`user_data`.
    """
    return user_data() / "trust"


def _not_from_here(path: Path) -> Path:
    # A variable outlives the directory that it was set in, and the next one may be a stranger's.
    if not path.expanduser().is_absolute():
        raise ValueError(
            f"{path} is relative, so that whoever made the current directory would choose whom you "
            "trust; write the absolute path, or name the file by an option of the command"
        )
    return path


def _trust_store(home: str | Path | None) -> Path:
    """Return the folder of the deployment's trust root, by the value of INFERENCEBENCH_HOME.

    Only a deployment that has said where its state lies has a trust root of its own.
    """
    if home is None or not (path := Path(home).expanduser()).is_absolute():
        return user_trust_store()
    return path / "trust"


_EnvironmentPath = Annotated[Path, AfterValidator(_absolute)]
_TrustedPath = Annotated[Path, AfterValidator(_not_from_here), AfterValidator(_absolute)]
_Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
_Address = Annotated[str, AfterValidator(lambda value: value.rstrip("/"))]


def _variable(name: str, default: Any = None, **bounds: Any) -> Any:  # noqa: ANN401 - as pydantic's Field
    # Defaults are validated as well, so that a default path is absolute like a given one.
    return Field(default=default, validate_default=True, validation_alias=name, **bounds)


class Settings(DocumentPart):
    """One deployment, as :meth:`from_environment` reads it from environment variables."""

    # The environment of a deployment holds secrets, which no traceback may repeat.
    model_config = ConfigDict(hide_input_in_errors=True)

    home: _EnvironmentPath = _variable("INFERENCEBENCH_HOME", Path(".inferencebench"))
    """The folder of the state: the run store, the corpus and the leaderboard lie below it."""
    trust_store: Annotated[Path, BeforeValidator(_trust_store)] = _variable("INFERENCEBENCH_HOME")
    """The folder of the versions of the trust root: ``trust`` in the folder that the variable names
    by an absolute path, and otherwise in the folder of the user's data."""
    specs: _EnvironmentPath = _variable("INFERENCEBENCH_SPECS", Path(__file__).parents[1] / "specs")
    """The folder of the benchmark specs."""
    inbox: str | None = _variable("INFERENCEBENCH_INBOX")
    """The place where other hosts leave finished runs: a path or an fsspec URL."""
    prices: _EnvironmentPath | None = _variable("INFERENCEBENCH_PRICES")
    """The file of dated, reviewed prices of accelerators. Without it no costs are shown."""
    hub_endpoint: _Address = _variable("HF_ENDPOINT", DEFAULT_HUB_ENDPOINT)
    """The address of the Hub, without a trailing slash."""
    organisation: str | None = _variable("INFERENCEBENCH_ORGANISATION")
    """The Hub namespace that results are published under."""
    trust_config: _TrustedPath | None = _variable("INFERENCEBENCH_TRUST_CONFIG")
    """The file of Sigstore's ClientTrustConfig. Without it the pinned public-good one counts."""
    policy: _TrustedPath | None = _variable("INFERENCEBENCH_POLICY")
    """The file of the reviewed identity policy."""
    identity_token_file: _EnvironmentPath | None = _variable("INFERENCEBENCH_IDENTITY_TOKEN_FILE")
    """The file of a projected OIDC token. Without it the ambient identity is asked for."""
    identity_token_command: _Words = _variable("INFERENCEBENCH_IDENTITY_TOKEN_COMMAND", ())
    """The words of a command that prints an OIDC token."""
    dev_key: _EnvironmentPath | None = _variable("INFERENCEBENCH_DEV_KEY")
    """The file of an Ed25519 key to sign with instead. Its signatures are never publishable."""
    log_viewer: str | None = _variable("INFERENCEBENCH_LOG_VIEWER")
    """The page of a log entry, with ``{index}`` in it, that links lead to."""
    update_model_card: bool = _variable("INFERENCEBENCH_UPDATE_MODEL_CARD", default=False)
    """True to add the backlink to the model card."""
    open_pull_requests: bool = _variable("INFERENCEBENCH_OPEN_PULL_REQUESTS", default=False)
    """True to allow pull requests on models of others."""
    outage_retries: int = _variable("INFERENCEBENCH_OUTAGE_RETRIES", 2, ge=0)
    """The number of times that a step repeats itself after an outage."""
    outage_wait_s: float = _variable("INFERENCEBENCH_OUTAGE_WAIT_S", 30.0, ge=0)
    """The time between them, in seconds, when the server gives no hint."""

    @property
    def store(self) -> Path:
        """Root of the run store, the corpus and the leaderboard."""
        return self.home / "store"

    @classmethod
    def variables(cls) -> dict[str, str]:
        """Return the environment variable of each field, by the field's name."""
        return {name: str(field.validation_alias) for name, field in cls.model_fields.items()}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings from ``environ``; an empty variable counts as one that is not set.

        Raises:
            SettingsError: a variable has a value that cannot be used.
        """
        given = {name: environ[name] for name in cls.variables().values() if environ.get(name)}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            said = [_sentence(detail) for detail in error.errors(include_url=False)]
            raise SettingsError("; ".join(said)) from error


_NO_NUMBER: Final = "is not a number"
_WRONG_NUMBER: Final = "must be a finite number of zero or more"
_SENTENCES: Final = {
    "bool_parsing": "is neither 1 nor 0",
    "int_parsing": "is not a whole number",
    "float_parsing": _NO_NUMBER,
    "finite_number": _WRONG_NUMBER,
    "greater_than_equal": _WRONG_NUMBER,
}
"""The sentence for each kind of wrong value. Only these values are repeated: none is a secret."""


def _sentence(detail: ErrorDetails) -> str:
    name = detail["loc"][0]
    if sentence := _SENTENCES.get(detail["type"]):
        return f"{name}={detail['input']!r} {sentence}"
    return f"{name} cannot be used: {detail['msg'].removeprefix('Value error, ')}"


def image_digest(environ: Mapping[str, str] = os.environ) -> str:
    """Return the digest of the container image that this process runs in; empty when not set.

    A process cannot see its own image, so the deployment states it.
    """
    return environ.get(IMAGE_DIGEST_VARIABLE, "")


def vllm_python(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the Python interpreter that vLLM is installed for; None for the pipeline's own."""
    return environ.get(VLLM_PYTHON_VARIABLE) or None


def hub_token(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the Hub token from ``HF_TOKEN`` or the file ``HF_TOKEN_PATH`` names, read now.

    Raises:
        SettingsError: the file is named but cannot be read.
    """
    # A secret that was pasted or mounted often ends with a line break, which no header may hold.
    if token := environ.get("HF_TOKEN", "").strip():
        return token
    if not (name := environ.get("HF_TOKEN_PATH")):
        return None
    path = _absolute(Path(name))
    try:
        return path.read_text().strip() or None
    except OSError as error:
        raise SettingsError(
            f"HF_TOKEN_PATH names {path}, which cannot be read ({error.strerror}); "
            "set HF_TOKEN, or fix the path"
        ) from error


def alert_addresses(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the Apprise URLs of ``INFERENCEBENCH_ALERTS``, or of the file that it names.

    They are secrets, hence read at the moment of use, and separated by white space. A value that
    begins with ``@`` names the file that holds them.

    Raises:
        SettingsError: the file is named but cannot be read.
    """
    return tuple(_text_or_file(environ, "INFERENCEBENCH_ALERTS", "the list").split())


def heartbeat_url(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the address that ``heartbeat`` calls, or None when nothing is to be called.

    It is ``INFERENCEBENCH_HEARTBEAT_URL``, or the content of the file that the variable names. It
    is a secret, since whoever knows it can say that we are alive.

    Raises:
        SettingsError: the file is named but cannot be read.
    """
    return _text_or_file(environ, "INFERENCEBENCH_HEARTBEAT_URL", "the address").strip() or None


def _text_or_file(environ: Mapping[str, str], name: str, what: str) -> str:
    """Return a variable's value, or the content of the file that it names after an ``@``."""
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
    """Return the origins that may have the API key in each variable.

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
