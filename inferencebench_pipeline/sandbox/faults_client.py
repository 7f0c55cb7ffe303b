"""The client of the fault injector, with which a test breaks the outside world."""

from __future__ import annotations

import http.client
import json
import re
from urllib.parse import urlsplit

from pydantic import TypeAdapter

from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.sandbox.faults import Fault, FaultReport, RequestRecord

_TIMEOUT_S = 10.0
_REPORTS = TypeAdapter(list[FaultReport])
_RECORDS = TypeAdapter(list[RequestRecord])


class FaultControlError(PermanentError):
    """The sandbox did not accept a fault."""


class Faults:
    """Adds and inspects the faults of one sandbox service.

    Example:
        >>> faults = Faults(sandbox.hub_url)
        >>> lost = faults.add("lost_response", method="POST", path="/commit/")
        >>> ...  # publish
        >>> assert faults.fired(lost) == 1
    """

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._host, self._port = parts.hostname or "", parts.port

    def add(self, kind: str, **settings: object) -> int:
        """Arm a fault and return its id; ``settings`` are the fields of :class:`Fault`.

        Raises:
            pydantic.ValidationError: a field is wrong.
            FaultControlError: a regular expression is.
        """
        fault = Fault.model_validate({"kind": kind, **settings})
        answer = self._call("POST", "/_sandbox/faults", fault.model_dump_json())
        return FaultReport.model_validate(answer).id

    def reports(self) -> list[FaultReport]:
        """Return every armed fault with the numbers of requests that it has seen and struck."""
        return _REPORTS.validate_python(self._call("GET", "/_sandbox/faults"))

    def fired(self, fault_id: int) -> int:
        """Return the number of requests that a fault has struck."""
        return next(report.fired for report in self.reports() if report.id == fault_id)

    def clear(self) -> None:
        """Disarm all faults."""
        self._call("DELETE", "/_sandbox/faults")

    def requests(self, *, method: str = ".*", path: str = ".*") -> list[RequestRecord]:
        """Return the requests so far, in the order they came, that match both regexes."""
        records = _RECORDS.validate_python(self._call("GET", "/_sandbox/requests"))
        return [
            record
            for record in records
            if re.fullmatch(method, record.method) and re.search(path, record.path)
        ]

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        self._call("DELETE", "/_sandbox/requests")

    def _call(self, method: str, path: str, body: str | None = None) -> object:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise FaultControlError(f"{method} {path} on port {self._port} answered: {text}")
        return json.loads(text)
