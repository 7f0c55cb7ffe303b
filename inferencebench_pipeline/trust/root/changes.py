"""The difference between two trust roots, as sentences for a person."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Final

from inferencebench_pipeline.trust.root.trust_root import TrustRoot

KINDS: Final = {
    "tlogs": "transparency log",
    "ctlogs": "certificate log",
    "certificateAuthorities": "certificate authority",
    "timestampAuthorities": "timestamp authority",
}
"""The words for each part of a trusted root."""
_SERVICES: Final = {
    "caUrls": "certificate authority",
    "rekorTlogUrls": "transparency log",
    "tsaUrls": "timestamp authority",
    "oidcUrls": "issuer of identities",
}


def changes(before: TrustRoot, after: TrustRoot) -> tuple[str, ...]:
    """Return one sentence per key or service that came, went or changed; none when nothing did."""
    return tuple(_changes(_document(before), _document(after)))


def _document(root: TrustRoot) -> dict[str, Any]:
    if root.signing is None:
        return {"trustedRoot": json.loads(root.trusted_root._inner.to_json()), "signingConfig": {}}
    document: dict[str, Any] = json.loads(root.signing._inner.to_json())
    return document


def _changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return one sentence per difference between two trust configurations."""
    sentences: list[str] = []
    for holder, names in (("trustedRoot", KINDS), ("signingConfig", _SERVICES)):
        for part, called in names.items():
            old = {_name(item): item for item in before[holder].get(part, [])}
            new = {_name(item): item for item in after[holder].get(part, [])}
            what = called if holder == "trustedRoot" else f"{called} to sign with"
            sentences += [f"{what} {name} came" for name in new if name not in old]
            sentences += [f"{what} {name} went" for name in old if name not in new]
            for name in new:
                if name in old and _window(old[name]) != _window(new[name]):
                    sentences.append(
                        f"{what} {name}: valid {_window(new[name])}, was {_window(old[name])}"
                    )
    # A change for which there is no sentence must not be reported as no change.
    return sentences or [
        f"{holder}.{part} changed"
        for holder in ("trustedRoot", "signingConfig")
        for part in sorted(before[holder].keys() | after[holder].keys())
        if before[holder].get(part) != after[holder].get(part)
    ]


def _name(item: dict[str, Any]) -> str:
    """Return what one key or service is called: its address, and of a key the digest too."""
    address = item.get("baseUrl") or item.get("uri") or item.get("url") or "unnamed"
    # Keys that followed each other may share one address, which then does not tell them apart.
    if "publicKey" in item:
        material = str(item["publicKey"].get("rawBytes"))
    elif "certChain" in item:
        material = json.dumps(item["certChain"], sort_keys=True)
    else:
        return str(address)
    return f"{address} (key {hashlib.sha256(material.encode()).hexdigest()[:12]})"


def _window(item: dict[str, Any]) -> str:
    period = item.get("publicKey", item).get("validFor") or {}
    start, end = (_moment(period.get(name)) for name in ("start", "end"))
    return f"from {start or 'ever'} until {end or 'further notice'}"


def _moment(text: str | None) -> str | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC).isoformat()
