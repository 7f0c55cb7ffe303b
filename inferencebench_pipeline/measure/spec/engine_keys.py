"""API keys of engines, and the address that each may be sent to: the one place that reads them.

A spec names the variable of its key; whoever runs the pipeline says, outside of any spec, which
variables are keys of engines and which address each is for (``INFERENCEBENCH_ENGINE_KEYS``). Both
must agree at every question, so that no spec sends a secret to an address of its own choice.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

from inferencebench_pipeline.measure.errors import EngineAccessError
from inferencebench_pipeline.measure.spec.secret_names import is_secret
from inferencebench_pipeline.settings import ENGINE_KEYS_VARIABLE, engine_keys, origin_of

# Azure's and Google's model services have their keys under names that are let through here.
_OURS: Final = re.compile(
    r"HF_.+|HUGGING_?FACE.+|SIGSTORE_.+|INFERENCEBENCH_.+|DAGSTER_.+|ACTIONS_.+|GITHUB_.+|GH_.+"
    r"|GITLAB_.+|CI_.+|CIRCLE_.+|BUILDKITE_.+|AWS_.+|S3_.+|FSSPEC_.+|AZURE_(?!OPENAI_|AI_).+"
    r"|GOOGLE_(?!API_KEY$).+|GCP_.+|GCS_.+|CLOUDSDK_.+|.*POSTGRES.*|PG[A-Z]+|MYSQL_.+|DATABASE_.+"
    r"|.*_DSN|KUBE.+|VAULT_.+|SSH_.+|GPG_.+|DOCKER_.+|NPM_.+|TWINE_.+|PYPI_.+|UV_.+|PIP_.+"
    r"|SMTP.+|APPRISE.+|SLACK_.+|ARTIFICIAL_?ANALYSIS.+"
)
"""Variables by which the pipeline, its store, its identity and its alerts get in elsewhere."""


def why_never_a_key(variable: str) -> str | None:
    """Return why a variable can never hold the key of an engine; None when it can."""
    # In any spelling, since a name in lower case may hold the same secret.
    if _OURS.fullmatch(variable.upper()) is None:
        return None
    return (
        f"{variable} is how the pipeline itself gets in elsewhere, so no engine is ever sent it; "
        "export the engine's own key under another name"
    )


def api_key(
    variable: str | None,
    url: str,
    *,
    proxy: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> str | None:
    """Return the API key in ``variable`` for a question to ``url``; None when it names none.

    Args:
        variable: ``engine.api_key_env`` of the spec.
        url: what is asked; its scheme, host and port must be those that the variable is for.
        proxy: an HTTP proxy on the way. It reads whatever goes to a plain ``http`` address, and
            must be allowed the key then; to an ``https`` address it only opens a tunnel.
        environ: holds the key, and who may have it.

    Raises:
        EngineAccessError: this address, or the proxy, may not have it; it is not set; it is one of
            our own secrets under another name; or no HTTP header can hold it.
        SettingsError: the list of who may have which key cannot be read.
    """
    if variable is None:
        return None
    if reason := why_never_a_key(variable):
        raise EngineAccessError(f"engine.api_key_env: {reason}")
    _require_allowed(variable, url, "engine.base_url", environ)
    if proxy is not None and url.startswith("http:"):
        _require_allowed(variable, proxy, "engine.proxy, which reads what is sent", environ)
    key = environ.get(variable)
    if not key:
        raise EngineAccessError(
            f"engine.api_key_env names {variable}, which is not set; export the API key in it"
        )
    # A line break in a key would begin a header of its own.
    if not key.isascii() or not key.isprintable():
        raise EngineAccessError(
            f"the API key in {variable} holds characters that no HTTP header can; export it again"
        )
    for name, value in environ.items():
        if value == key and why_never_a_key(name) and is_secret(name):
            raise EngineAccessError(
                f"{variable} holds the same secret as {name}, which no engine is ever sent; export "
                "the engine's own key in it"
            )
    return key


def _require_allowed(variable: str, url: str, what: str, environ: Mapping[str, str]) -> None:
    try:
        origin = origin_of(url)
    except ValueError as error:
        raise EngineAccessError(f"{what} is {error}; correct the address in the spec") from error
    if origin not in engine_keys(environ).get(variable, ()):
        raise EngineAccessError(
            f"the key in {variable} is not for {origin} ({what}), so nothing was sent; where it is "
            f'meant to be, add "{variable}={origin}" to {ENGINE_KEYS_VARIABLE} in the environment '
            "of whoever runs the pipeline (docs/engines.md)"
        )
