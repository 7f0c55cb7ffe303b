"""Secrets in the environment, which a webserver that others can reach must not have.

They are told by the words of their names and by the look of their values, since nobody can list all
names: a variable of tomorrow is refused too. A false alarm costs one line of configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
ALLOWED_VARIABLE = "INFERENCEBENCH_UI_ALLOWED_VARIABLES"
"""Names, with commas, that an operator lets the webserver hold although they look like secrets."""

_NEVER_ALLOWED = frozenset(
    {
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HUGGING_FACE_HUB_TOKEN",
        "INFERENCEBENCH_ALERTS",
        "INFERENCEBENCH_DEV_KEY",
        "INFERENCEBENCH_HEARTBEAT_URL",
        "INFERENCEBENCH_IDENTITY_TOKEN_COMMAND",
        "INFERENCEBENCH_IDENTITY_TOKEN_FILE",
        "INFERENCEBENCH_WEBHOOK_SECRET",
        "INFERENCEBENCH_WEBHOOK_SECRET_FILE",
        "SIGSTORE_ID_TOKEN",
    }
)
"""The pipeline's own secrets. The webserver has no use for them, so no operator can allow them."""
_NEEDED = frozenset({"DAGSTER_POSTGRES_PASSWORD"})
"""The webserver reads runs and events from the database, so it must hold that password."""
_WITHOUT_A_WORD = _NEVER_ALLOWED | {"PGPASSFILE", "PGSERVICEFILE"}
"""Names that are secrets, although the words below do not tell."""
_NO_SECRETS = frozenset({"SSH_AUTH_SOCK"})
"""A socket's path, which opens nothing without the socket."""
_SECRET_WORDS = frozenset(
    {"AUTH", "AUTHORIZATION", "BEARER", "COOKIE", "COOKIES", "DSN", "JWT", "NETRC", "OAUTH", "PAT"}
    | {"CREDENTIAL", "CREDENTIALS", "CREDS", "SECRET", "SECRETS", "TOKEN", "TOKENS", "KEY", "KEYS"}
    | {"PASS", "PASSCODE", "PASSPHRASE", "PASSWD", "PASSWORD", "PASSWORDS", "PWD"}
    | {"ACCESSKEY", "APIKEY", "APIKEYS", "AUTHKEY", "PRIVATEKEY", "SECRETKEY", "SIGNINGKEY"}
)
_SECRET_ENDINGS = (
    *("PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "APIKEY"),
    *("CREDENTIAL", "CREDENTIALS"),
)
"""Endings of words like ``PGPASSWORD`` and ``AUTHTOKEN``; ``MONKEY`` is why KEY is none."""
_SECRET_PAIRS = frozenset({("CONNECTION", "STRING"), ("WEBHOOK", "URL"), ("SAS", "URL")})
_COUNTING = frozenset(
    {"AVG", "BATCHED", "BUDGET", "COUNT", "INPUT", "LIMIT", "MAX", "MEAN", "MIN", "NEW", "NUM"}
    | {"OUTPUT", "PREFILL", "PROMPT", "SPECULATIVE", "TOTAL"}
)
"""Beside TOKENS these make a number of pieces of text, as in ``VLLM_MAX_TOKENS``."""
_SWITCHING = frozenset(
    {"ALLOW", "DISABLE", "DISABLED", "ENABLE", "ENABLED", "NO", "REQUIRE", "USE", "VERIFY"}
)
"""With these and a value of yes or no, a name is a switch: ``HF_HUB_DISABLE_IMPLICIT_TOKEN=1``."""
# The words of HF_TOKEN, hfToken and HFToken are the same ones.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SWITCH = re.compile(r"(?i)[01]|true|false|yes|no|on|off")
_NUMBER = re.compile(r"[0-9]{1,9}")
_FINGERPRINT = re.compile(r"(0x)?[0-9A-Fa-f]{16,64}")
# Kubernetes gives each container the services of its namespace, as in DB_PORT_5432_TCP_ADDR.
_SERVICE_LINK = re.compile(r"_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_[0-9]+_(TCP|UDP)(_[A-Z]+)?)?)$")
_ADDRESS = re.compile(r"((tcp|udp)://)?[0-9a-f.:\[\]]+|tcp|udp")
# The repetitions are bounded, so that no long value makes the search slow.
_SECRET_VALUE = re.compile(
    # A URL with a password, or one that carries its secret in the query.
    r"[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s/?#@:]*:[^\s/?#@]+@"
    r"|://\S{0,500}[?&](?i:access_token|api_?key|key|password|secret|sig|signature|token)=[^&\s]"
    # A connection string: libpq's, Azure's.
    r"|\b(?i:password|pwd|accountkey|sharedaccesskey)\s*=\s*[^\s;]"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    # The marks of the issuers of tokens: Hugging Face, GitHub, GitLab, Slack, AWS, and JWTs.
    r"|\b(hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}"
    r"|xox[abprs]-[\w-]{10,}|(AKIA|ASIA)[0-9A-Z]{16}|eyJ[\w-]{8,2000}\.eyJ[\w-]{8,}\.[\w-]*)"
)


def exposed_secrets(host: str, environ: Mapping[str, str]) -> list[str]:
    """Return the names of secrets in the environment of a webserver that others can reach.

    Args:
        host: the address it listens on; on loopback nothing is exposed.
        environ: its environment. No value is ever returned.
    """
    if host in LOOPBACK:
        return []
    named = {name.strip() for name in environ.get(ALLOWED_VARIABLE, "").split(",")}
    allowed = (named - _NEVER_ALLOWED) | _NEEDED
    return sorted(
        name
        for name, value in environ.items()
        if value and name not in allowed and holds_secret(name, value)
    )


def holds_secret(name: str, value: str) -> bool:
    """Return whether a variable of that name and value looks like a secret."""
    if name in _NO_SECRETS:
        return False
    return (
        name.upper() in _WITHOUT_A_WORD
        or _names_secret(name, value)
        or bool(_SECRET_VALUE.search(value))
    )


def _names_secret(name: str, value: str) -> bool:
    words = [word.upper() for word in _WORD.findall(name)]
    if _SERVICE_LINK.search(name) and _ADDRESS.fullmatch(value):
        return False  # the address of a Kubernetes service, which may be called "token"
    if words in (["PWD"], ["OLDPWD"]):
        return False  # the shell's working folder
    secret = {word for before, word in pairwise(["", *words]) if _is_secret_word(before, word)}
    if any(pair in _SECRET_PAIRS for pair in pairwise(words)):
        return True
    if secret <= {"TOKENS"} and _COUNTING & {*words}:
        return False
    if secret <= {"TOKENS", "KEYS"} and _NUMBER.fullmatch(value):
        return False
    if secret <= {"KEY", "KEYS"} and _is_fingerprint(words, value):
        return False
    return bool(secret) and not (_SWITCHING & {*words} and _SWITCH.fullmatch(value))


def _is_secret_word(before: str, word: str) -> bool:
    if before == "PUBLIC" and word in {"KEY", "KEYS"}:
        return False
    return word in _SECRET_WORDS or word.endswith(_SECRET_ENDINGS)


def _is_fingerprint(words: list[str], value: str) -> bool:
    """Return whether a value is a fingerprint, as GPG_KEY in Python's images is."""
    return "GPG" in words and bool(_FINGERPRINT.fullmatch(value))
