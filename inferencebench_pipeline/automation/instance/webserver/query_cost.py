"""The cost of a GraphQL request, and its bounds on a server for the public.

Before anything is executed its size is counted, with all fragments laid out; while it is executed,
time, fields and the size of the answer are counted, since a short query can ask for much data. The
limits stand well above what Dagster's own pages ask for; a test compares them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLResolveInfo,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

MAX_TOKENS = 20_000
MAX_FRAGMENTS = 250
# It bounds validation too, where one rule of GraphQL compares overlapping fields in pairs.
MAX_FIELDS = 1_500
MAX_DEPTH = 16
MAX_ALIASES = 20
MAX_ROOT_FIELDS = 10
MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_RESOLVED_FIELDS = 400_000
MAX_SECONDS = 15.0
MAX_PAGE = 5_000
"""The most entries that one argument may ask for; Dagster's pages ask for 1,000 at most."""
MAX_TICK_SECONDS = 35 * 24 * 3600.0
"""The span ahead for which ticks are computed; Dagster itself would compute them for ever."""
_PAGES = frozenset({"limit", "upper_limit", "lower_limit", "day_range"})


class CostError(Exception):
    """A query that is more than this server answers."""


class BudgetSpentError(BaseException):
    """An execution that is over its budget.

    No ``Exception``: GraphQL turns those into nulls, and goes on with the next field.
    """


@dataclass(frozen=True)
class Cost:
    """The size of a selection with all fragments laid out."""

    fields: int = 0
    depth: int = 0
    aliases: int = 0
    roots: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.fields + other.fields,
            max(self.depth, other.depth),
            self.aliases + other.aliases,
            self.roots + other.roots,
        )


def require_affordable(document: DocumentNode) -> None:
    """Refuse a document any of whose operations is larger than the limits.

    Raises:
        CostError: it says which limit.
        RecursionError: it is nested too deeply even to be counted.
    """
    fragments = {
        item.name.value: item
        for item in document.definitions
        if isinstance(item, FragmentDefinitionNode)
    }
    _require("fragments", len(fragments), MAX_FRAGMENTS)
    count = _Counting(fragments)
    operations = Cost()
    for item in document.definitions:
        if isinstance(item, OperationDefinitionNode):
            operations += count.selections(item.selection_set)
    _require("fields", operations.fields, MAX_FIELDS)
    _require("levels", operations.depth, MAX_DEPTH)
    _require("aliases", operations.aliases, MAX_ALIASES)
    _require("fields at its top", operations.roots, MAX_ROOT_FIELDS)
    # Fragments that no operation uses cost the validation as much as those that one does.
    for name in fragments:
        unused = count.fragment(name)
        _require("fields", unused.fields, MAX_FIELDS)
        _require("levels", unused.depth, MAX_DEPTH)


def _require(what: str, found: int, most: int) -> None:
    if found > most:
        raise CostError(f"a query here has at most {most} {what}")


@dataclass
class _Counting:
    """Costs of selections; that of a fragment is computed once, however often it is spread."""

    fragments: dict[str, FragmentDefinitionNode]
    known: dict[str, Cost] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)

    def selections(self, selected: SelectionSetNode | None) -> Cost:
        total = Cost()
        for item in selected.selections if selected else ():
            if isinstance(item, FieldNode):
                below = self.selections(item.selection_set)
                aliases = below.aliases + (item.alias is not None)
                total += Cost(1 + below.fields, 1 + below.depth, aliases, 1)
            elif isinstance(item, FragmentSpreadNode):
                total += self.fragment(item.name.value)
            elif isinstance(item, InlineFragmentNode):
                total += self.selections(item.selection_set)
        return total

    def fragment(self, name: str) -> Cost:
        if name in self.open:
            raise CostError("a fragment may not hold itself")
        if name not in self.known:
            self.open.add(name)
            fragment = self.fragments.get(name)
            # A spread costs validation something even when its fragment is missing.
            spread = self.selections(fragment.selection_set) if fragment else Cost(fields=1)
            self.known[name] = spread
            self.open.discard(name)
        return self.known[name]


@dataclass
class Budget:
    """The rest of one execution's time, fields and bytes."""

    deadline_s: float
    fields: int = MAX_RESOLVED_FIELDS
    bytes: int = MAX_ANSWER_BYTES

    def spend(self, key: str, value: object) -> None:
        """Count one resolved field.

        Raises:
            BudgetSpentError: nothing is left.
        """
        self.fields -= 1
        self.bytes -= len(key) + 4 + _size(value)
        if self.fields < 0 or self.bytes < 0:
            raise BudgetSpentError("the answer is larger than this server sends; ask for less")
        if time.monotonic() > self.deadline_s:
            raise BudgetSpentError(
                f"the answer takes longer than {MAX_SECONDS:g} s; ask for less, or at another time"
            )


_BUDGET: ContextVar[Budget | None] = ContextVar("query_budget", default=None)


@contextmanager
def budgeted() -> Iterator[None]:
    """Give each execution inside this context a budget of its own."""
    token = _BUDGET.set(Budget(time.monotonic() + MAX_SECONDS))
    try:
        yield
    finally:
        _BUDGET.reset(token)


def spend_budget(
    resolve: Callable[..., object], root: object, info: GraphQLResolveInfo, **arguments: object
) -> object:
    """Resolve a field on the budget: a middleware of ``graphql-core``."""
    budget = _BUDGET.get()
    if budget is None:
        return resolve(root, info, **arguments)
    # Charged before, so that nothing is resolved over budget, and after, when the size is known.
    budget.spend(info.path.key if isinstance(info.path.key, str) else "", None)
    _require_small_page(info.field_name, arguments)
    value = resolve(root, info, **arguments)
    budget.spend("", value)
    return value


def _require_small_page(name: str, arguments: dict[str, object]) -> None:
    for argument, value in arguments.items():
        if argument in _PAGES and isinstance(value, int) and value > MAX_PAGE:
            raise BudgetSpentError(f"{argument} of {name} is at most {MAX_PAGE} here")
    until, start = arguments.get("until"), arguments.get("cursor") or time.time()
    if not isinstance(until, int | float) or not isinstance(start, int | float):
        return
    # Written with ``not`` so that NaN, which compares as false, is refused.
    if not until - start <= MAX_TICK_SECONDS:
        raise BudgetSpentError(f"{name} looks {MAX_TICK_SECONDS:g} s ahead at most here")


def _size(value: object) -> int:
    """Return about how many bytes a resolved value adds to the answer, never walking far."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list | tuple):
        return sum(len(item) + 4 if isinstance(item, str) else 2 for item in value)
    return 4
