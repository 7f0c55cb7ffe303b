"""No spelling of a path, a query or a header makes a request that should read change something.

The guard looks at a path and the router behind it matches its own reading of it; generated requests
compare the two over real sockets. The endpoints are asked without the guard too, since they decide
when the guard has missed something.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote, quote_plus, unquote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.routing import Match, Mount, Router, WebSocketRoute

from tests.automation.served import PREFIX, UNTOUCHED, Served, serving, serving_unguarded
from tests.chance import examples, parametrized

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
MUTATION = 'mutation { setConcurrencyLimit(concurrencyKey: "attack", limit: 5) }'
FUZZ = settings(
    max_examples=examples(250),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


WAYS = ["guarded", "guarded-prefix", "public", "endpoints-alone"]


@pytest.fixture(scope="module", params=parametrized("ways to serve", WAYS, 2))
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("served") / "home"
    match request.param:
        case "guarded":
            server = serving(home)
        case "guarded-prefix":
            server = serving(home, prefix=PREFIX)
        case "public":
            server = serving(home, prefix=PREFIX, read_only=True)
        case _:
            server = serving_unguarded(home)
    with server as up:
        yield up


# Bytes that one reader drops, folds or stops at, and the next does not.
ODD_TEXTS = (
    r"%0A %0D%0A %0D %00 %09 %20 %0B %0C %1C %85 %C2%85 %E2%80%A8 %E2%80%A9 %C2%A0 %EF%BB%BF "
    r"%E2%80%8B %2F // / /./ /../ %2e%2e/ ;x=1 %3Bx %3F %23 \ %5C %250A %25 . .. %ED%A0%80 %FF "
    r"* @ :80 ~ + |"
)
ODD = st.sampled_from(ODD_TEXTS.split())


@st.composite
def graphql_paths(draw: st.DrawFn) -> str:
    """Paths that are nearly, or in some reading exactly, that of GraphQL."""
    letters = "".join(
        f"%{ord(letter):02x}" if draw(st.integers(0, 9)) == 0 else letter for letter in "graphql"
    )
    if draw(st.integers(0, 9)) == 0:
        letters = draw(st.sampled_from([letters.upper(), letters.title(), "ｇraphql", "graphqĺ"]))
        letters = quote(letters, safe="%")
    starts = ["/", PREFIX + "/"] * 5 + ["//", "/./", "/x/../", "/%2F", "", "/%0A"]
    before = draw(st.sampled_from(starts))
    after = draw(st.just("") | st.just("%0A") | st.lists(ODD, max_size=2).map("".join))
    path = before + letters + after
    if draw(st.integers(0, 4)) == 0:
        place = draw(st.integers(1, max(1, len(path))))
        path = path[:place] + draw(ODD) + path[place:]
    if draw(st.integers(0, 19)) == 0:
        path = "http://127.0.0.1" + path
    return path.replace(" ", "%20") or "/"


def parameters() -> st.SearchStrategy[str]:
    """Query strings that ask for the mutation, among others or alone."""
    harmless = "query Harmless { version }"
    both = harmless + MUTATION.replace("mutation", "mutation Harmful", 1)
    texts = [
        f"query={quote(MUTATION)}",
        f"query={quote_plus(MUTATION)}",
        f"query={quote(harmless)}&query={quote(MUTATION)}",
        f"query={quote(MUTATION)}&query={quote(harmless)}",
        f"query={quote(both)}&operationName=Harmful",
        f"operationName=Harmful&query={quote(both)}",
        f"%71uery={quote(MUTATION)}",
        f"QUERY={quote(MUTATION)}",
        f"query[]={quote(MUTATION)}",
        f"x=1;query={quote(MUTATION)}",
        f"query={quote('#' + chr(10) + MUTATION)}&variables=%7B%7D",
        f"query={quote(MUTATION.replace('{', '@include(if: true) {', 1))}",
        f"extensions=%7B%22persistedQuery%22%3A%7B%7D%7D&query={quote(MUTATION)}",
        f"query={''.join(f'%{byte:02x}' for byte in MUTATION.encode())}",
    ]
    return st.sampled_from(texts)


def headers() -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries(
        {},
        optional={
            "Accept": st.sampled_from(["text/html", "*/*", "application/json", "image/*"]),
            "Content-Type": st.sampled_from(
                ["application/json", "application/graphql", "text/html"]
            ),
            "X-HTTP-Method-Override": st.just("POST"),
            "X-Forwarded-Prefix": st.just("/graphql"),
            "X-Original-URL": st.just("/graphql"),
            "Sec-Fetch-Mode": st.sampled_from(["navigate", "no-cors"]),
            "Sec-Fetch-Dest": st.sampled_from(["document", "image"]),
            "Sec-Fetch-Site": st.sampled_from(["none", "same-origin", "cross-site"]),
        },
    )


@FUZZ
@given(
    method=st.sampled_from(
        ["GET", "GET", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "get"]
    ),
    path=graphql_paths(),
    query=parameters(),
    lines=headers(),
    with_body=st.booleans(),
)
@example("GET", "/graphql%0A", f"query={quote(MUTATION)}", {}, False)
@example("GET", "/graphql%0A", f"query={quote(MUTATION)}", {"Sec-Fetch-Site": "cross-site"}, False)
@example("HEAD", "/graphql%0A", f"query={quote(MUTATION)}", {}, False)
@example("GET", PREFIX + "/graphql%0A", f"query={quote(MUTATION)}", {}, False)
def test_nothing_but_a_post_ever_changes_anything(
    served: Served, method: str, path: str, query: str, lines: dict[str, str], with_body: bool
) -> None:
    body = json.dumps({"query": MUTATION}).encode() if with_body else b""
    status = served.ask(method, f"{path}?{query}", lines, body)
    try:
        assert served.limit() == UNTOUCHED, (method, path, query, lines)
        assert status < 500
    finally:
        served.restore()


def endpoint_of(router: Router, path: str) -> str:
    """Return the name of the function that Starlette's router hands a GET of that path to."""
    scope = {"type": "http", "method": "GET", "path": path, "root_path": "", "headers": []}
    routes, name = list(router.routes), ""
    while routes:
        route = routes.pop(0)
        match, child = route.matches(scope)
        if match is not Match.FULL or isinstance(route, WebSocketRoute):
            continue
        if isinstance(route, Mount):
            scope |= child
            routes = list(route.routes)
            continue
        name = getattr(child["endpoint"], "__name__", "")
        break
    return name


@pytest.mark.parametrize("prefix", ["", PREFIX])
def test_whatever_the_router_takes_for_graphql_is_refused_as_a_get(
    tmp_path_factory: pytest.TempPathFactory, prefix: str
) -> None:
    home = tmp_path_factory.mktemp("router") / "home"
    reached = 0
    with serving_unguarded(home, prefix=prefix) as alone, serving(home / "g", prefix=prefix) as up:
        router = alone.router

        @FUZZ
        @given(path=graphql_paths(), query=parameters())
        @example(f"{prefix}/graphql", "x=1")
        @example(f"{prefix}/graphql%0A", f"query={quote(MUTATION)}")
        def compare(path: str, query: str) -> None:
            nonlocal reached
            if endpoint_of(router, unquote(path)) == "graphql_http_endpoint":
                reached += 1
                assert alone.ask("GET", f"{path}?{query}", {}) == 405
                assert up.ask("GET", f"{path}?{query}", {}) in {400, 405}

        compare()
    assert reached >= 10, "the generated paths must reach GraphQL often enough to compare anything"


PLAIN = st.text(
    st.characters(categories=["L", "N"], include_characters="-_. ~'()!*,;:@&=+$"), min_size=1
).filter(lambda text: text.strip(". ") != "")


@settings(FUZZ, max_examples=examples(100))
@given(
    page=st.sampled_from(
        ["assets", "runs", "jobs", "locations", "overview", "automation", "lineage"]
    ),
    names=st.lists(PLAIN, max_size=3),
    query=st.sampled_from(["", "?view=events", "?q%5B0%5D=tag%3Ax", "?query=status%3Afailure"]),
    came=st.sampled_from(
        [
            {},
            {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
            {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
            # Somebody followed a link in a chat or a wiki.
            {
                "Sec-Fetch-Site": "cross-site",
                "Sec-Fetch-Mode": "navigate",
                "Sec-Fetch-Dest": "document",
            },
        ]
    ),
)
def test_pages_of_the_ui_open(
    served: Served, page: str, names: list[str], query: str, came: dict[str, str]
) -> None:
    path = "/".join([page, *(quote(name, safe="") for name in names)])
    status = served.ask("GET", f"{served.prefix}/{path}{query}", came)
    assert status == 200


def test_posts_of_the_ui_pass(served: Served) -> None:
    body = json.dumps(
        {"operationName": "V", "variables": {}, "query": "query V { version __typename }"}
    )
    same = {"Sec-Fetch-Site": "same-origin", "Origin": f"http://127.0.0.1:{served.port}"}
    kind = {"Content-Type": "application/json"}
    target = f"{served.prefix}/graphql?op=V"
    assert served.ask("POST", target, same | kind, body.encode()) == 200


def test_a_mutation_of_the_ui_passes_where_changes_are_allowed(served: Served) -> None:
    body = json.dumps({"query": MUTATION}).encode()
    status = served.ask(
        "POST", f"{served.prefix}/graphql", {"Content-Type": "application/json"}, body
    )
    found = served.limit()
    served.restore()
    assert (status, found) == ((403, UNTOUCHED) if served.read_only else (200, 5))
