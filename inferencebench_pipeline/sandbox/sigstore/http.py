"""The HTTP layer of all services: bounded JSON bodies in, and typed error bodies out."""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from inferencebench_pipeline.errors import PermanentError

# The codes of google.rpc.Code. Any other status is 2, UNKNOWN.
_GRPC_CODES = {400: 3, 401: 16, 404: 5, 409: 6, 413: 8, 503: 14}


class ServiceError(PermanentError):
    """A request is refused; the message goes to whoever sent it and repeats nothing secret."""

    def __init__(self, status: int, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class RpcError(ServiceError):
    """Refused by Fulcio or Rekor v2, whose error bodies are google.rpc.Status as JSON."""


class RestError(ServiceError):
    """Refused by Rekor v1 or the timestamp authority: ``{"code": status, "message": text}``."""


class Message(BaseModel):
    """Base of request bodies: immutable; unknown fields are ignored, as the real services do."""

    model_config = ConfigDict(frozen=True, extra="ignore")


MessageT = TypeVar("MessageT", bound=Message)


async def answer_service_error(_request: Request, error: Exception) -> Response:
    """Return the error body that the refusing service is known for."""
    if not isinstance(error, ServiceError):
        raise error
    body: dict[str, object] = {"code": error.status, "message": str(error)}
    if isinstance(error, RpcError):
        body = {"code": _GRPC_CODES.get(error.status, 2), "message": str(error), "details": []}
    return JSONResponse(body, status_code=error.status, headers=error.headers)


async def read_body(request: Request, error: type[ServiceError], *, limit_bytes: int) -> bytes:
    """Return the request's body.

    Raises:
        ServiceError: of the given type, when it is longer than ``limit_bytes``.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_bytes:
            raise error(413, f"request body is longer than {limit_bytes} bytes")
    return bytes(body)


def parse(model: type[MessageT], body: bytes, error: type[ServiceError]) -> MessageT:
    """Return ``body`` as the given message.

    Raises:
        ServiceError: of the given type, naming the first field that is wrong, never its value.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as cause:
        first = cause.errors(include_input=False, include_url=False)[0]
        if first["type"] == "json_invalid":
            raise error(400, "request body is not JSON") from cause
        field = ".".join(str(part) for part in first["loc"]) or "body"
        raise error(400, f"request body: {field}: {first['msg']}") from cause


def unbase64(value: str, field: str, error: type[ServiceError]) -> bytes:
    """Return the bytes of a base64 field.

    Raises:
        ServiceError: of the given type, naming the field.
    """
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as cause:
        raise error(400, f"{field} is not base64") from cause
