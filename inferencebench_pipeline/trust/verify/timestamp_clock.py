"""A trusted timestamp authority, and the times that its timestamps (RFC 3161) verify to.

Stock's checks are kept, all of them. The certificates of the authority are written out once, and
the look at a certificate that comes inside a timestamp is remembered when it succeeded.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate, Name
from rfc3161_client import TimeStampResponse, VerificationError
from rfc3161_client.verify import _Verifier
from sigstore._internal.trust import CertificateAuthority

from inferencebench_pipeline.trust.root.trust_root import within

_REMEMBERED: Final = 64
"""Number of sets of certificates that one clock remembers; an authority sends one or two."""
_MOST_BYTES: Final = 1 << 16
"""Sets of certificates above this size are looked at each time instead."""
_SHORTEST_CHAIN: Final = 2
"""A timestamp certificate and a root."""


class TimestampClock:
    """One timestamp authority of a trust root."""

    def __init__(self, authority: CertificateAuthority) -> None:
        self._valid_for = authority._inner.valid_for
        # Stock passes over an authority with a shorter chain too.
        chain = authority.certificates(allow_expired=True)
        self._verifier = _SharedChain(chain) if len(chain) >= _SHORTEST_CHAIN else None

    def verified_time(self, response: TimeStampResponse, message: bytes) -> datetime | None:
        """Return the time in a timestamp of ``message`` by this authority, within its window.

        None when another authority made it, or nobody. Both ends belong to the window, as
        protobuf-specs' ``TimeRange`` says; stock leaves the end out.
        """
        if self._verifier is None:
            return None
        try:
            self._verifier.verify_message(response, message)
        except VerificationError:
            return None
        time = response.tst_info.gen_time
        return time if within(self._valid_for, time) else None


class _SharedChain(_Verifier):
    """The stock verifier of timestamps of one chain."""

    def __init__(self, chain: list[Certificate]) -> None:
        # As stock builds it: the authority's own certificate, what is between, and the root.
        leaf, *between, root = chain
        super().__init__(None, leaf, between, [root], None)
        self._chain = {item.public_bytes(Encoding.DER) for item in chain}
        self._seen: set[tuple[frozenset[bytes], Name, int]] = set()

    def _verify_tsr_with_chains(self, tsp_response: TimeStampResponse) -> bool:
        """Make stock's check of the signature, with the certificates written out before.

        That there is a signature at all is found out here as well: without one it fails.
        """
        token, time = tsp_response.time_stamp_token(), tsp_response.tst_info.gen_time
        try:
            self._verify_signed_data(token, time, self._chain)
        except ValueError as error:
            raise VerificationError(f"Error while verifying certificates: {error}") from error
        return True

    def _verify_leaf_certs(self, tsp_response: TimeStampResponse) -> bool:
        """Make stock's check of the certificates inside a timestamp, once for the same ones.

        It depends on them and on the signer's name and number in the response, and nothing else.
        """
        signed = tsp_response.signed_data
        certificates, signers = frozenset(signed.certificates), list(signed.signer_infos)
        if len(signers) != 1 or sum(map(len, certificates)) > _MOST_BYTES:
            return super()._verify_leaf_certs(tsp_response)
        about = (certificates, signers[0].issuer, signers[0].serial_number)
        if about not in self._seen:
            super()._verify_leaf_certs(tsp_response)
            if len(self._seen) >= _REMEMBERED:
                self._seen.clear()
            self._seen.add(about)
        return True
