"""HTTP sessions for Fulcio, Rekor and the timestamp authorities.

They add timeouts, limits on the size of answers, retries of idempotent requests, and the servers'
own messages in errors.

sigstore-python sets no deadline on Fulcio and Rekor, drops Fulcio's message and turns a missing
timestamp into a warning after the log entry is made; this module is where that is put right.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import requests
import urllib3
from rfc3161_client import TimeStampResponse
from sigstore._internal.rekor import RekorLogSubmitter
from sigstore._internal.rekor.client import RekorClient
from sigstore._internal.timestamp import TimestampAuthorityClient, TimestampError
from sigstore.models import ClientTrustConfig
from sigstore.sign import SigningContext
from urllib3.util.retry import Retry

from inferencebench_pipeline.errors import PipelineError
from inferencebench_pipeline.trust.errors import SigningRefusedError, SigningUnavailableError
from inferencebench_pipeline.untrusted import (
    DeadlineAdapter,
    JsonDocumentError,
    parse_json,
    printable,
    retry_after_s,
    within,
)

MAX_RESPONSE_BYTES: Final = 1 << 20
_SHOWN_CHARACTERS = 300
_RETRYABLE_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class SigningDeadlines:
    """Time limits of one HTTP exchange, in seconds."""

    connect_s: float = 5.0
    answer_s: float = 30.0
    """Time from the request to the last byte of the answer. Rekor v2 answers once the entry is in
    the log, and its client guide asks for 20 s or more."""


@dataclass(frozen=True)
class SigningServices:
    """The services to sign with, ready to use by one thread, and what to call them in messages."""

    context: SigningContext
    certificate_authority: str
    log: RekorLogSubmitter
    log_url: str
    """Address of the log's API, ``/api/v1`` or ``/api/v2`` included."""
    timestamp_authorities: tuple[TimestampAuthorityClient, ...]
    """At least one; every signature carries the word of each."""

    @property
    def log_name(self) -> str:
        """Name of the log in messages."""
        return f"the transparency log {self.log_url}"

    @property
    def is_rekor_v1(self) -> bool:
        """True if the log signs the time at which it takes an entry in."""
        return isinstance(self.log, RekorClient)


class TimestampUnavailableError(Exception):
    """Carries the timestamp authority's failure past sigstore, which would only warn."""


def open_services(
    config: ClientTrustConfig, *, rekor_version: int | None, deadlines: SigningDeadlines
) -> SigningServices:
    """Return the services that ``config`` names, with deadlines on every exchange.

    Each is asked again, a few times with a growing pause, after a refused connection, a lost
    answer or an error of a gateway. That is safe at the log too: it refuses an entry it holds.

    Raises:
        SigningRefusedError: the configuration offers no usable log of ``rekor_version``, or no
            timestamp authority.
    """
    # A configuration of our own: the choice of log is a mutable attribute of a shared object.
    own = ClientTrustConfig(config._inner)
    own.force_tlog_version = rekor_version
    try:
        signing = own.signing_config
        # Stock signing sends to the first log only, whatever the configuration's selector asks for.
        fulcio, log = signing.get_fulcio(), signing.get_tlogs()[0]
        authorities = [_StrictTimestamps(client.url) for client in signing.get_tsas()]
    except Exception as error:
        wanted = "" if rekor_version is None else f" with Rekor v{rekor_version}"
        raise SigningRefusedError(
            f"the trust configuration names no usable signing services{wanted}: {error}"
        ) from error
    if not authorities:
        raise SigningRefusedError(
            "the trust configuration names no timestamp authority, and no signature is made "
            "without a trusted time; add one to tsaUrls"
        )
    retries = Retry(
        total=3,
        connect=2,
        read=1,
        status=2,
        other=0,
        redirect=0,
        status_forcelist={502, 503, 504},
        # Otherwise urllib3 would not repeat a POST.
        allowed_methods=None,
        backoff_factor=0.2,
        # The last answer is needed, because the server's own words go into our error.
        raise_on_status=False,
        # A step must not sleep for as long as a server says: our error hands the wait on instead.
        respect_retry_after_header=False,
    )
    # The sessions belong to sigstore, which has no setting for a deadline, so adapters set it.
    sessions: list[Any] = [fulcio.session, log._session, *(one._session for one in authorities)]  # type: ignore[attr-defined]
    for session in sessions:
        _mount(session, retries, deadlines)
    context = SigningContext(
        fulcio=fulcio,
        rekor=log,
        trusted_root=own.trusted_root,
        tsa_clients=list(authorities),
    )
    return SigningServices(context, fulcio.url, log, log.url, tuple(authorities))  # type: ignore[attr-defined]


def service_failure(service: str, error: Exception) -> PipelineError:
    """Return what a service's failure means: try later, or change something first.

    Args:
        service: what to call it, with its address.
        error: what sigstore raised; the HTTP answer is looked for along its causes.
    """
    if isinstance(error, PipelineError):
        return error
    response = response_behind(error)
    if response is None:
        network = _network_error(error)
        if network is not None:
            return SigningUnavailableError(
                f"{service} could not be reached: {_network_words(network)}; the unsigned envelope "
                "is kept, sign again when the service is back"
            )
        return SigningUnavailableError(
            f"{service} gave an answer that cannot be used ({type(error).__name__}: "
            f"{printable(error, _SHOWN_CHARACTERS)}); the unsigned envelope is kept, sign again "
            "later"
        )
    said = f"{service} answered {response.status_code}: {_server_words(response)}"
    if response.status_code in _RETRYABLE_STATUSES:
        return SigningUnavailableError(
            f"{said}; the unsigned envelope is kept, sign again later",
            retry_after_s=retry_after_s(response.headers.get("Retry-After")),
        )
    return SigningRefusedError(said)


def response_behind(error: BaseException) -> requests.Response | None:
    """Return the HTTP answer behind ``error``; its truth value is not used, 4xx is false."""
    for item in _chain(error):
        if isinstance(item, requests.RequestException) and item.response is not None:
            return item.response
    return None


class _BoundedAdapter(DeadlineAdapter):
    """Sends with our deadlines whatever the caller asks for, and reads bounded answers."""

    def __init__(self, retries: Retry, deadlines: SigningDeadlines) -> None:
        super().__init__(max_retries=retries)
        self._deadlines = deadlines

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:  # noqa: ANN401
        ends_at = time.monotonic() + self._deadlines.answer_s
        options["timeout"] = (self._deadlines.connect_s, self._deadlines.answer_s)
        # Otherwise requests reads the whole body itself, without any bound.
        options["stream"] = True
        with within(self._deadlines.answer_s):
            try:
                response = super().send(request, **options)
                try:
                    # Sigstore reads the answer through ``content``, which requests keeps in this
                    # attribute.
                    response._content = self._body(response, ends_at)
                finally:
                    response.raw.release_conn()
            except (urllib3.exceptions.HTTPError, requests.RequestException) as error:
                if time.monotonic() >= ends_at:
                    raise requests.Timeout(self._late, request=request) from error
                if isinstance(error, requests.RequestException):
                    raise
                raise requests.ConnectionError(error, request=request) from error
        return response

    @property
    def _late(self) -> str:
        return f"no whole answer within {self._deadlines.answer_s:g} s"

    def _body(self, response: requests.Response, ends_at: float) -> bytes:
        """Return the whole answer; read1 returns what has arrived, so a drip is seen to drip."""
        body = bytearray()
        while chunk := response.raw.read1(1 << 16, decode_content=True):
            body += chunk
            if len(body) > MAX_RESPONSE_BYTES:
                raise requests.ConnectionError(f"the answer exceeds {MAX_RESPONSE_BYTES} bytes")
            if time.monotonic() > ends_at:
                raise requests.Timeout(self._late)
        return bytes(body)


class _StrictTimestamps(TimestampAuthorityClient):
    """A timestamp authority whose failure stops the signature before anything is logged."""

    def request_timestamp(self, signature: bytes) -> TimeStampResponse:
        try:
            return super().request_timestamp(signature)
        except TimestampError as error:
            raise TimestampUnavailableError(self.url) from error


def _mount(session: requests.Session, retries: Retry, deadlines: SigningDeadlines) -> None:
    adapter = _BoundedAdapter(retries, deadlines)
    session.mount("https://", adapter)
    session.mount("http://", adapter)


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    # The contexts of exceptions can form a circle.
    while current is not None and len(found) < 20:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found


def _network_error(error: BaseException) -> requests.RequestException | None:
    for item in _chain(error):
        if isinstance(item, requests.ConnectionError | requests.Timeout):
            return item
    return None


def _server_words(response: requests.Response) -> str:
    text = response.content.decode("utf-8", "replace")
    try:
        document = parse_json(text, what="the answer", max_bytes=MAX_RESPONSE_BYTES)
    except JsonDocumentError:
        texts = (printable(said, _SHOWN_CHARACTERS) for said in (text, response.reason))
        return next(filter(None, texts), "no text")
    message = document.get("message") if isinstance(document, dict) else None
    return printable(message if isinstance(message, str) else text, _SHOWN_CHARACTERS)


def _network_words(error: requests.RequestException) -> str:
    reason = error.args[0] if error.args else error
    said = printable(getattr(reason, "reason", reason), _SHOWN_CHARACTERS)
    return f"{type(error).__name__}: {said}"
