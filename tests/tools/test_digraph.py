"""The graph algorithms, each against a definition that is slow and plain, on random graphs."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.digraph import circles, longest_path, reachable, reduced, shortest_path

NODES = "abcdef"
GRAPHS = st.dictionaries(st.sampled_from(NODES), st.sets(st.sampled_from(NODES), max_size=4))
ACYCLIC = st.sets(st.sampled_from([(a, b) for a in NODES for b in NODES if a < b])).map(
    lambda pairs: {a: {y for x, y in pairs if x == a} for a in NODES}
)


def _paths(arrows, start, most=6):
    """Yields every path of at least one arrow that enters no node twice."""
    for target in arrows.get(start, ()):
        yield [start, target]
        if most > 1:
            for path in _paths(arrows, target, most - 1):
                if start not in path:
                    yield [start, *path]


def _reaches(arrows, start, end):
    return any(path[-1] == end for path in _paths(arrows, start)) or (
        start == end and any(start in arrows.get(path[-1], ()) for path in _paths(arrows, start))
    )


@given(GRAPHS)
def test_reachable_is_what_some_path_ends_at(arrows):
    reached = reachable(arrows)
    for start, end in itertools.product(reached, repeat=2):
        assert (end in reached[start]) == _reaches(arrows, start, end)


@given(GRAPHS)
def test_a_circle_holds_all_nodes_that_reach_one_another(arrows):
    reached = reachable(arrows)
    group_of = {node: group for group in map(tuple, circles(arrows)) for node in group}
    for one, other in itertools.combinations(reached, 2):
        mutual = other in reached[one] and one in reached[other]
        assert mutual == (one in group_of and group_of.get(one) == group_of.get(other))


@given(ACYCLIC)
def test_the_longest_path_is_as_long_as_any_and_a_path(arrows):
    longest = longest_path(arrows)
    assert all(after in arrows[before] for before, after in itertools.pairwise(longest))
    assert len(longest) == max((len(p) for node in arrows for p in _paths(arrows, node)), default=1)


def test_a_longest_path_enters_one_node_of_a_circle():
    assert longest_path({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}}) == ["a", "b", "d"]


@given(ACYCLIC)
def test_a_reduced_graph_reaches_the_same_with_no_arrow_to_spare(arrows):
    small = reduced(arrows)
    assert reachable(small) == reachable(arrows)
    for node, targets in small.items():
        for target in targets:
            assert target not in reachable({**small, node: targets - {target}})[node]


def test_a_graph_with_a_circle_is_not_reduced():
    with pytest.raises(ValueError, match="the circle a b"):
        reduced({"a": {"b"}, "b": {"a"}})


@given(GRAPHS, st.sampled_from(NODES), st.sampled_from(NODES))
def test_a_shortest_path_is_as_short_as_any(arrows, start, end):
    found = shortest_path(arrows, start, end)
    if start == end:
        assert found == [start]
        return
    lengths = [len(path) for path in _paths(arrows, start) if path[-1] == end]
    assert len(found) == min(lengths, default=0)
    assert all(after in arrows[before] for before, after in itertools.pairwise(found))
