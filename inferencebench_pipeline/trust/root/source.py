"""The trust root that a verdict was reached under, as a person reads it: name, digest and age."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import AwareDatetime

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.trust.root.trust_root import TrustRoot

OLD_AFTER: Final = timedelta(days=180)
"""The age at which a trust root is called old.

Sigstore signs its TUF root metadata for about half a year at a time. A trust root that nobody has
confirmed for longer has outlived every signature that once vouched for it: keys may have ended
meanwhile, and newer records name logs that it does not know.
"""


class TrustSource(DocumentPart):
    """The trust root of a verdict, with how sure it is that it is the current one."""

    name: str
    """A few words on its origin, such as ``public good, shipped with 0.2.0``."""
    place: str
    """The file that it was read from."""
    sha256: str
    """The SHA-256 of its bytes."""
    checked_at: AwareDatetime | None
    """The time at which it was last confirmed; null when that is unknown."""
    age_days: int | None
    """The whole days since then; null when that is unknown."""
    old: bool
    """True when it was last confirmed more than 180 days ago."""
    renewal: str | None
    """The way to renew it; null when only whoever named the file can know."""

    def warning(self) -> str | None:
        """Return the sentence to warn a person with, or None when there is nothing to warn of."""
        if not self.old:
            return None
        return (
            f"the trust root ({self.name}) was last confirmed {self.age_days} days ago, so it may "
            f"miss new logs and the ends of old keys; renew it: {self.renewal}"
        )


def trust_source(root: TrustRoot, *, now: datetime | None = None) -> TrustSource:
    """Return the origin, digest and age of a trust root.

    Args:
        root: the trust root.
        now: the time that its age is counted to. If None, the clock's.
    """
    checked = root.origin.checked_at
    # A clock that runs slow must not make a root younger than new.
    age = None if checked is None else max((now or datetime.now(UTC)) - checked, timedelta())
    return TrustSource(
        name=root.origin.name,
        place=root.source,
        sha256=root.sha256,
        checked_at=checked,
        age_days=None if age is None else age.days,
        old=age is not None and age > OLD_AFTER,
        renewal=root.origin.renewal,
    )
