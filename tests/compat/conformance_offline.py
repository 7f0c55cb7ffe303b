"""A plugin of pytest for the run of Sigstore's conformance suite: no test of it reaches a network.

Every test of the suite first downloads the token with which it signs, whether or not it signs. The
answer here is a token of the right form that nobody would accept.
"""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace

import urllib3

_CLAIMS = {"email": "nobody@example.org", "iss": "https://issuer.example.org", "exp": 4102444800}


def _answer(*_arguments: object, **_options: object) -> SimpleNamespace:
    claims = base64.b64encode(json.dumps(_CLAIMS).encode()).rstrip(b"=")
    return SimpleNamespace(data=b"e30." + claims + b".e30")


urllib3.request = _answer  # type: ignore[assignment]
