"""Dagster's webserver, with a decision wherever it is about to execute a GraphQL operation.

What is decided on is what Dagster itself would execute: the method of the request that its router
brought here by whatever path, the query and the operation's name after its own reading of the body.
"""

from __future__ import annotations

import asyncio
import json
from asyncio import Task
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from dagster._check import CheckError
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster_shared.error import DagsterError
from dagster_webserver.webserver import DagsterWebserver
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLFormattedError,
    GraphQLResolveInfo,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    get_operation_ast,
    parse,
    validate,
)
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from .query_cost import (
    MAX_ANSWER_BYTES,
    MAX_TOKENS,
    BudgetSpentError,
    CostError,
    budgeted,
    require_affordable,
    spend_budget,
)

READING_ONLY = "this UI is for reading only"
MAX_EXECUTIONS = 8
"""Queries that a server for the public executes at once; the others wait for their turn."""
MAX_WAIT_SECONDS = 10.0
MAX_SUBSCRIPTIONS = 50
"""Subscriptions that a WebSocket may hold; a page of Dagster's holds one or two."""
MAX_SOCKETS = 500
_NO_INPUT = (CheckError, DagsterError, AttributeError, KeyError, TypeError, ValueError, OSError)
"""The errors that Dagster's endpoints raise at a request that they did not expect."""

Endpoint = Callable[[Request], Any]


class RefusedError(Exception):
    """An operation that is not executed."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class GuardedWebserver(DagsterWebserver[WorkspaceProcessContext, WorkspaceRequestContext]):
    """Dagster's webserver that changes something only when a POST of JSON asks for it.

    For reading only it changes nothing, and bounds what a query may cost.
    """

    def __init__(
        self,
        context: WorkspaceProcessContext,
        path_prefix: str = "",
        live_data_poll_rate: int | None = None,
        *,
        read_only: bool = False,
    ) -> None:
        """Build the webserver; ``create_asgi_app`` returns what a server runs."""
        self._read_only = read_only
        self._executions = asyncio.Semaphore(MAX_EXECUTIONS)
        self._sockets = 0
        # Dagster builds its schema here, so the mutations can only be guarded afterwards.
        super().__init__(context, path_prefix, live_data_poll_rate)
        _guard_mutations(self._graphene_schema.graphql_schema, read_only=read_only)

    def build_graphql_middleware(self) -> list[Any]:
        """Return the middleware that runs around each field."""
        return [spend_budget] if self._read_only else []

    def handle_graphql_errors(self, errors: Sequence[GraphQLError]) -> list[Any]:
        """Return errors as they are answered, without the place in our code for strangers."""
        answered: list[Any] = super().handle_graphql_errors(errors)
        for error in answered if self._read_only else ():
            error.get("extensions", {}).pop("errorInfo", None)
        return answered

    # --- GraphQL over HTTP ------------------------------------------------------------------

    async def graphql_http_endpoint(self, request: Request) -> Response:
        """Execute a POST of JSON, show GraphiQL to a browser, and refuse everything else."""
        if request.method != "POST":
            shows = request.method == "GET" and not request.url.query
            if shows and "text/html" in request.headers.get("accept", ""):
                page: Response = await super().graphql_http_endpoint(request)
                return page
            return _refused(HTTPStatus.METHOD_NOT_ALLOWED, "send GraphQL as a POST of JSON")
        try:
            asked = json.loads(await request.body())
        except (ValueError, RecursionError):
            return _refused(HTTPStatus.BAD_REQUEST, "that is no GraphQL query as JSON")
        if not _is_request(asked):
            return _refused(
                HTTPStatus.BAD_REQUEST,
                "send one JSON object with query (a text), variables (an object) and operationName",
            )
        return await self.execute_graphql_request(
            request, asked["query"], asked.get("variables"), asked.get("operationName")
        )

    async def execute_graphql_request(
        self,
        request: Request,
        query: str,
        variables: dict[str, Any] | None,
        operation_name: str | None,
    ) -> JSONResponse:
        """Execute a query when its turn has come; a server for the public runs few at once."""
        if not self._read_only:
            return await super().execute_graphql_request(request, query, variables, operation_name)
        try:
            async with asyncio.timeout(MAX_WAIT_SECONDS):
                await self._executions.acquire()
        except TimeoutError:
            return _refused(
                HTTPStatus.SERVICE_UNAVAILABLE, "too many queries at once; try again in a moment"
            )
        try:
            # Whoever waited too long may be gone, and that query would keep the others waiting.
            if await request.is_disconnected():
                return _refused(HTTPStatus.BAD_REQUEST, "nobody waits for the answer")
            return await super().execute_graphql_request(request, query, variables, operation_name)
        finally:
            self._executions.release()

    def graphql_execution_thread(
        self,
        request: Request,
        query: str,
        variables: dict[str, Any] | None,
        operation_name: str | None,
    ) -> JSONResponse:
        """Execute a query, unless it is one that this request may not ask for."""
        try:
            self._require_allowed(query, operation_name, request)
            if not self._read_only:
                return super().graphql_execution_thread(request, query, variables, operation_name)
            with budgeted():
                answer = super().graphql_execution_thread(request, query, variables, operation_name)
        except RefusedError as error:
            return _refused(error.status, error.reason)
        except BudgetSpentError as error:
            return _refused(HTTPStatus.BAD_REQUEST, str(error))
        except RecursionError:
            return _refused(HTTPStatus.BAD_REQUEST, "that query is nested too deeply")
        if len(answer.body) > MAX_ANSWER_BYTES:
            return _refused(
                HTTPStatus.BAD_REQUEST, "the answer is larger than this server sends; ask for less"
            )
        return answer

    def _require_allowed(
        self, query: str, operation_name: str | None, conn: HTTPConnection
    ) -> DocumentNode:
        """Return the query's document, or say why it is not executed."""
        try:
            # The parser calls itself for each level, so a very deep
            # text ends it before a depth is counted.
            document = parse(query, no_location=True, max_tokens=self._max_tokens())
            if self._read_only:
                _require_no_mutation(document)
                require_affordable(document)
        except GraphQLError as error:
            raise RefusedError(
                HTTPStatus.BAD_REQUEST, f"no GraphQL query: {error.message}"
            ) from None
        except CostError as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from None
        except RecursionError:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "nested too deeply") from None
        executed = get_operation_ast(document, operation_name)
        if executed is None:
            raise RefusedError(
                HTTPStatus.BAD_REQUEST, "the request does not say which operation is meant"
            )
        streams = executed.operation is OperationType.SUBSCRIPTION
        if streams != (conn.scope["type"] == "websocket"):
            raise RefusedError(
                HTTPStatus.BAD_REQUEST, "subscriptions, and nothing else, go over a WebSocket"
            )
        if executed.operation is OperationType.MUTATION and not may_change(conn, self._read_only):
            raise RefusedError(HTTPStatus.FORBIDDEN, "a change is asked for by a POST")
        return document

    def _max_tokens(self) -> int | None:
        return MAX_TOKENS if self._read_only else None

    # --- GraphQL over WebSockets ------------------------------------------------------------

    async def graphql_ws_endpoint(self, websocket: WebSocket) -> None:
        """Speak ``graphql-ws`` with a page, and end the conversation with whoever does not."""
        # Counted without a lock: the event loop runs nothing else between the test and the count.
        if self._read_only and self._sockets >= MAX_SOCKETS:
            await websocket.close(1013, "too many pages follow this server; try again later")
            return
        self._sockets += 1
        try:
            await super().graphql_ws_endpoint(_Conversation(websocket))
        finally:
            self._sockets -= 1

    async def execute_graphql_subscription(
        self,
        websocket: WebSocket,
        operation_id: str,
        query: str,
        variables: dict[str, Any] | None,
        operation_name: str | None,
    ) -> tuple[Task[None] | None, GraphQLFormattedError | None]:
        """Start a subscription; queries and mutations are none."""
        try:
            await run_in_threadpool(self._require_stream, query, operation_name, websocket)
        except RefusedError as error:
            return None, {"message": error.reason}
        return await super().execute_graphql_subscription(
            websocket, operation_id, query, variables, operation_name
        )

    def _require_stream(self, query: str, operation_name: str | None, conn: HTTPConnection) -> None:
        document = self._require_allowed(query, operation_name, conn)
        # Dagster executes subscriptions without validating them.
        try:
            found = validate(
                self._graphene_schema.graphql_schema, document, self._graphql_validation_rules
            )
        except RecursionError:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "nested too deeply") from None
        if found:
            raise RefusedError(HTTPStatus.BAD_REQUEST, found[0].message)

    # --- the other routes -------------------------------------------------------------------

    async def download_captured_logs_endpoint(self, request: Request) -> Response:
        """Send a step's output; a path that leads elsewhere is not found."""
        parts = request.path_params["path"].split("/")
        if len(parts) < 2 or any(part in {"", ".", ".."} for part in parts):
            raise HTTPException(HTTPStatus.NOT_FOUND)
        try:
            answer: Response = await super().download_captured_logs_endpoint(request)
        except (ValueError, OSError):
            raise HTTPException(HTTPStatus.NOT_FOUND) from None
        if isinstance(answer, FileResponse) and not Path(answer.path).is_file():
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return answer

    async def download_debug_file_endpoint(self, request: Request) -> Response:
        """Send everything about a run, if there is such a run."""
        # Dagster would read all of it on the event loop, and answer nobody else meanwhile.
        found = await run_in_threadpool(self._has_run, request)
        if not found:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        async with self._executions:
            download = super().download_debug_file_endpoint(request)
            answer: Response = await run_in_threadpool(asyncio.run, download)
        return answer

    def _has_run(self, request: Request) -> bool:
        with self.request_context(request) as context:
            return context.instance.has_run(request.path_params["run_id"])

    async def download_notebook(self, request: Request) -> Response:  # noqa: ARG002
        """Refuse: no asset here has a notebook, and Dagster would render any that it can read."""
        raise HTTPException(HTTPStatus.NOT_FOUND)

    async def report_asset_materialization_endpoint(self, request: Request) -> JSONResponse:
        """Take a report by JSON from whoever may change something."""
        return await self._report(request, super().report_asset_materialization_endpoint)

    async def report_asset_check_endpoint(self, request: Request) -> JSONResponse:
        """Take a report by JSON from whoever may change something."""
        return await self._report(request, super().report_asset_check_endpoint)

    async def report_asset_observation_endpoint(self, request: Request) -> JSONResponse:
        """Take a report by JSON from whoever may change something."""
        return await self._report(request, super().report_asset_observation_endpoint)

    async def _report(self, request: Request, endpoint: Endpoint) -> JSONResponse:
        if not may_change(request, self._read_only):
            return _refused(HTTPStatus.FORBIDDEN, READING_ONLY)
        try:
            if not isinstance(json.loads(await request.body()), dict):
                return _refused(HTTPStatus.BAD_REQUEST, "a report is a JSON object")
            answer: JSONResponse = await endpoint(request)
        except (*_NO_INPUT, RecursionError):
            return _refused(HTTPStatus.BAD_REQUEST, "that is no report of an asset as JSON")
        return answer


def may_change(source: object, read_only: bool) -> bool:
    """Return whether a request may change something, which only a POST may."""
    return (
        not read_only
        and isinstance(source, HTTPConnection)
        and source.scope["type"] == "http"
        and source.scope["method"] == "POST"
    )


def _guard_mutations(schema: GraphQLSchema, *, read_only: bool) -> None:
    """Have each mutation ask, at the moment it runs, for the kind of its request.

    Whatever road a later version of Dagster opens to its schema, it ends here.
    """
    for field in schema.mutation_type.fields.values() if schema.mutation_type else ():
        field.resolve = _guarded(field.resolve, read_only=read_only)


def _guarded(resolve: Callable[..., object] | None, *, read_only: bool) -> Callable[..., object]:
    if resolve is None:
        raise TypeError(
            "this dagster-graphql has a mutation that nothing executes: the guard does not fit it"
        )

    def guarded(root: object, info: GraphQLResolveInfo, **arguments: object) -> object:
        if not may_change(info.context.source, read_only):
            raise GraphQLError(READING_ONLY if read_only else "a change is asked for by a POST")
        return resolve(root, info, **arguments)

    return guarded


def _require_no_mutation(document: DocumentNode) -> None:
    """Refuse a document that holds a mutation, whichever of its operations is asked for."""
    for item in document.definitions:
        if isinstance(item, OperationDefinitionNode) and item.operation is OperationType.MUTATION:
            raise RefusedError(HTTPStatus.FORBIDDEN, READING_ONLY)


def _is_request(asked: object) -> bool:
    return (
        isinstance(asked, dict)
        and isinstance(asked.get("query"), str)
        and isinstance(asked.get("variables"), dict | None)
        and isinstance(asked.get("operationName"), str | None)
    )


def _refused(status: HTTPStatus, reason: str) -> JSONResponse:
    """Return a refusal that programs and Dagster's pages alike can show."""
    return JSONResponse({"error": reason, "errors": [{"message": reason}]}, status)


class _Conversation(WebSocket):
    """A WebSocket whose other end is held to the protocol before Dagster reads a message."""

    def __init__(self, socket: WebSocket) -> None:
        super().__init__(socket.scope, socket.receive, socket.send)
        self._started: set[str] = set()

    async def receive_json(self, mode: str = "text") -> Any:  # noqa: ANN401, ARG002
        """Return the next message of the protocol; anything else ends the conversation."""
        try:
            message = json.loads(await self.receive_text())
        except (ValueError, KeyError, RecursionError):
            message = None
        if not self._is_spoken(message):
            await self.close(1008, "that is not graphql-ws, or too much of it")
            raise WebSocketDisconnect(1008)
        return message

    def _is_spoken(self, message: object) -> bool:
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            return False
        if message["type"] == "stop":
            self._started.discard(str(message.get("id")))
            return isinstance(message.get("id"), str)
        if message["type"] != "start":
            return True
        payload, identifier = message.get("payload"), message.get("id")
        if not (isinstance(identifier, str) and isinstance(payload, dict)):
            return False
        self._started.add(identifier)
        return (
            len(self._started) <= MAX_SUBSCRIPTIONS
            and _is_request(payload)
            # Over a WebSocket, Dagster reads the name of the operation under this key.
            and isinstance(payload.get("operation_name"), str | None)
        )
