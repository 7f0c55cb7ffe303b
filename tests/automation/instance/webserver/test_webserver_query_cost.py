"""A stranger's query has a bounded cost on a public server, and Dagster's own pages fit in.

The pages' queries are read from the JavaScript that Dagster ships, so that a limit which a new
version of its pages outgrows is noticed here.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster_webserver
import pytest
from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    build_schema,
    execute_sync,
    parse,
    print_ast,
)
from starlette.types import Message, Receive, Scope, Send

from inferencebench_pipeline.automation.instance.webserver import guard, query_cost
from inferencebench_pipeline.automation.instance.webserver.query_cost import (
    BudgetSpentError,
    CostError,
    budgeted,
    require_affordable,
    spend_budget,
)
from tests.automation.webservers import JSON, Server, running

DEFINITION = re.compile(r"(?:query|subscription|mutation|fragment)\s+\w+[^{}\"'`;]{0,2000}\{")
WORKSPACE = """
from dagster import Definitions, ScheduleDefinition, job, op

@op
def nothing(): ...

@job
def idle(): nothing()

defs = Definitions(jobs=[idle], schedules=[ScheduleDefinition(job=idle, cron_schedule="* * * * *")])
"""


def definitions(text: str) -> Iterator[OperationDefinitionNode | FragmentDefinitionNode]:
    """Every GraphQL definition in a file of JavaScript."""
    for found in DEFINITION.finditer(text):
        depth = 0
        for place in range(found.end() - 1, min(len(text), found.start() + 50_000)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0:
                try:
                    items = parse(text[found.start() : place + 1], no_location=True).definitions
                except GraphQLError:
                    break
                for item in items:
                    if isinstance(item, OperationDefinitionNode | FragmentDefinitionNode):
                        yield item
                break


def pages_queries() -> dict[str, DocumentNode]:
    """Dagster's own operations by name, with their fragments and the fields that Apollo adds."""
    fragments: dict[str, FragmentDefinitionNode] = {}
    operations: dict[str, OperationDefinitionNode] = {}
    for file in Path(dagster_webserver.__file__).parent.glob("webapp/build/**/*.js"):
        text = file.read_text().replace("\\n", "\n").replace('\\"', '"')
        for item in definitions(text):
            if isinstance(item, FragmentDefinitionNode):
                fragments[item.name.value] = item
            elif item.name is not None and item.operation is not OperationType.MUTATION:
                operations[item.name.value] = item
    documents = {}
    for name, operation in operations.items():
        needed: dict[str, FragmentDefinitionNode] = {}
        waiting = [print_ast(operation)]
        while waiting:
            for spread in re.findall(r"\.\.\.\s*(?!on\b)(\w+)", waiting.pop()):
                if spread not in needed:
                    needed[spread] = fragments[spread]
                    waiting.append(print_ast(fragments[spread]))
        text = "\n".join(map(print_ast, (operation, *needed.values())))
        documents[name] = parse(re.sub(r"\n( +)\}", r"\n\1  __typename\n\1}", text))
    return documents


@pytest.mark.slow
def test_every_query_of_dagster_s_own_pages_is_affordable() -> None:
    documents = pages_queries()
    assert len(documents) > 120
    assert {"RunsFeedRootQuery", "RunLogsQuery", "PipelineRunLogsSubscription"} <= set(documents)
    for name, document in documents.items():
        try:
            require_affordable(document)
        except CostError as error:
            pytest.fail(f"{name}: {error}")


NESTED = "{a" * 20 + "{b}" + "}" * 20
BOMB = "{...F0} " + " ".join(
    f"fragment F{n} on Query {{x{n}:version {f'...F{n + 1} ...F{n + 1}' if n < 100 else ''}}}"
    for n in range(101)
)


@pytest.mark.parametrize(
    ("query", "limit"),
    [
        ("{" + " ".join(f"a{n}: __schema{{types{{name}}}}" for n in range(300)) + "}", "aliases"),
        ("{" + " ".join(f"a{n}: version" for n in range(5000)) + "}", "fields"),
        ("{" + "version " * 20 + "}", "fields at its top"),
        ("{" + "...F " * 20 + "} fragment F on Query {version}", "fields at its top"),
        ("{" + "... on Query{version} " * 20 + "}", "fields at its top"),
        (NESTED, "levels"),
        (NESTED.replace("{b}", "{...F}") + " fragment F on X {c}", "levels"),
        (BOMB, "fields"),
        ("query A {version} " * 3 + "query B {" + "version " * 20 + "}", "fields at its top"),
        ("{version} " + BOMB.partition(" ")[2], "fields"),
        ("{...F} fragment F on Query {...F}", "hold itself"),
        ("{...F} fragment F on Query {...G} fragment G on Query {a{...F}}", "hold itself"),
        ("{version} " + " ".join(f"fragment F{n} on Query{{a}}" for n in range(300)), "fragments"),
        ("{v @skip(if: true) {" + "a: b " * 3000 + "}}", "fields"),
    ],
)
def test_a_query_of_any_shape_is_counted_with_its_fragments_laid_out(
    query: str, limit: str
) -> None:
    started_s = time.process_time()
    with pytest.raises(CostError, match=limit):
        require_affordable(parse(query, no_location=True))
    assert time.process_time() - started_s < 2


ROWS = build_schema(
    "type Query { rows(limit: Int, until: Float): [Row] text: String list: [String] }"
    " type Row { name: String rows: [Row] }"
)


@pytest.mark.parametrize(
    ("query", "value", "reason"),
    [
        ("{rows{name rows{name rows{name}}}}", [{"name": "x"}] * 10, None),
        ("{text}", "x" * 2_000, "larger"),
        ("{list}", ["x" * 20] * 200, "larger"),
        ("{rows{name}}", [{"name": "x"}] * 2_000, "larger"),
        ("{rows(limit: 5001){name}}", [], "at most"),
        ("{rows(until: 1e300){name}}", [], "ahead"),
    ],
)
def test_what_is_executed_stops_when_its_budget_is_spent(
    monkeypatch: pytest.MonkeyPatch, query: str, value: object, reason: str | None
) -> None:
    monkeypatch.setattr(query_cost, "MAX_ANSWER_BYTES", 1_000)
    monkeypatch.setattr(query_cost.Budget, "bytes", 1_000)

    def ask() -> None:
        root = dict.fromkeys(("rows", "text", "list"), value)
        with budgeted():
            budget = query_cost._BUDGET.get()
            assert budget is not None
            budget.bytes = 1_000
            assert execute_sync(ROWS, parse(query), root, middleware=[spend_budget]).errors is None

    if reason is None:
        ask()
    else:
        with pytest.raises(BudgetSpentError, match=reason):
            ask()


def test_what_takes_long_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_cost, "MAX_SECONDS", 0.2)
    rows = [{"name": lambda _info: time.sleep(0.02)}] * 1_000
    started_s = time.monotonic()
    with budgeted(), pytest.raises(BudgetSpentError, match=r"longer than 0\.2 s"):
        execute_sync(ROWS, parse("{rows{name}}"), {"rows": rows}, middleware=[spend_budget])
    assert time.monotonic() - started_s < 2


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("public")
    (folder / "idle.py").write_text(WORKSPACE)
    options = ("--read-only", "-f", str(folder / "idle.py"))
    with running(folder / "home", *options) as server:
        yield server


def ticks(arguments: str) -> str:
    selector = (
        'repositoryLocationName: "idle.py", repositoryName: "__repository__", '
        'scheduleName: "idle_schedule"'
    )
    return (
        f"{{ scheduleOrError(scheduleSelector: {{{selector}}}) {{ __typename ... on Schedule "
        f"{{ name futureTicks({arguments}) {{ results {{ timestamp }} }} "
        "potentialTickTimestamps(upperLimit: 2) } } }"
    )


@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize(
    "query",
    [
        "{" + " ".join(f"a{n}: __schema{{types{{name fields{{name}}}}}}" for n in range(300)) + "}",
        "{" + " ".join(f"a{n}: runsOrError{{__typename}}" for n in range(5000)) + "}",
        "{" * 5000,
        "{a(b: " + "[" * 5000,
        "{" + "a{" * 3000 + "b" + "}" * 3001,
        BOMB,
        # One field that Dagster would compute until the end of time.
        ticks("until: 1e12"),
        ticks("limit: 100000000"),
        ticks("cursor: 1.0, until: 1900000000.0"),
        ticks("limit: 1").replace("upperLimit: 2", "upperLimit: 2000000000"),
    ],
    ids=[
        "schema",
        "aliases",
        "braces",
        "lists",
        "levels",
        "bomb",
        "until",
        "limit",
        "past",
        "upper",
    ],
)
def test_a_costly_query_is_refused_at_once(public: Server, query: str) -> None:
    started_s = time.monotonic()
    status, text = public.graphql(query)
    assert status == 400, text[:200]
    assert json.loads(text)["errors"][0]["message"]
    assert time.monotonic() - started_s < 10


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_what_the_pages_ask_for_is_answered(public: Server) -> None:
    status, text = public.graphql(ticks("limit: 10"))
    assert status == 200, text
    found = json.loads(text)["data"]["scheduleOrError"]
    assert len(found["futureTicks"]["results"]) == 10
    # What GraphiQL asks for once, when it is opened.
    introspection = (
        "query I { __schema { queryType { name } types { kind name fields(includeDeprecated: true) "
        "{ name args { name type { kind name ofType { kind name ofType { kind name } } } } "
        "type { kind name ofType { kind name ofType { kind name } } } } } } }"
    )
    assert public.graphql(introspection)[0] == 200


@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize("key", ['["..", "..", "etc", "passwd"]', '["a", "\\u0000"]'])
def test_strangers_are_not_shown_the_code_an_error_came_from(public: Server, key: str) -> None:
    _, text = public.graphql(f"{{ capturedLogs(logKey: {key}) {{ stdout }} }}")
    assert json.loads(text)["errors"][0]["message"]
    assert not any(shown in text for shown in ("errorInfo", "stack", "site-packages"))


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_many_costly_queries_leave_the_server_answering(public: Server) -> None:
    costly = "{" + " ".join(f"a{n}: __schema{{types{{name description}}}}" for n in range(9)) + "}"
    with ThreadPoolExecutor(12) as strangers:
        answers = [strangers.submit(public.graphql, costly) for _ in range(24)]
        started_s = time.monotonic()
        assert public.ask("GET", "/server_info")[0] == 200
        assert time.monotonic() - started_s < 5
        assert {answer.result()[0] for answer in answers} <= {200, 503}


def test_a_body_of_which_something_always_comes_is_refused_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same as the next, in a moment: the guard alone, and a short patience."""
    monkeypatch.setattr(guard, "MAX_BODY_SECONDS", 0.2)
    answered: list[Message] = []

    async def drip() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def answer(message: Message) -> None:
        answered.append(message)

    async def never(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("it was passed on")

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:3000"), (b"content-type", b"application/json")],
    }
    started_s = time.monotonic()
    asyncio.run(guard.Guard(never)(scope, drip, answer))
    assert answered[0]["status"] == 408
    assert 0.1 < time.monotonic() - started_s < 10


@pytest.mark.nightly
@pytest.mark.timeout(420)
def test_a_body_that_never_ends_is_not_waited_for(public: Server) -> None:
    """Each byte comes in time; the whole body does not."""
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:{public.port}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
    )
    started_s = time.monotonic()
    with socket.create_connection(("127.0.0.1", public.port), timeout=2) as wire:
        wire.sendall(head.encode())
        answer = b""
        while not answer and time.monotonic() - started_s < 60:
            try:
                wire.sendall(b" ")
                wire.settimeout(1)
                answer = wire.recv(1000)
            except TimeoutError:
                continue
    assert answer.split()[1] == b"408"
    assert 25 < time.monotonic() - started_s < 40


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_variables_do_not_hide_a_large_page(public: Server) -> None:
    query = "query Q($n: Int!) { runsOrError(limit: $n) { __typename } }"
    for number, expected in ((25, 200), (5001, 400)):
        body = json.dumps({"query": query, "variables": {"n": number}})
        assert public.ask("POST", "/graphql", body, JSON)[0] == expected
