"""Algorithms on small directed graphs: reachability, circles, the longest path, reduction.

A graph is a mapping from each node to the nodes that its arrows point at. A node that only occurs
as the end of an arrow needs no entry of its own. Nothing here knows what the nodes stand for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

Arrows = Mapping[str, Iterable[str]]


def reachable(arrows: Arrows) -> dict[str, set[str]]:
    """Returns for each node the nodes that a path of at least one arrow leads to."""
    return {node: _reached_from(node, arrows) for node in _nodes(arrows)}


def circles(arrows: Arrows) -> list[list[str]]:
    """Returns the largest groups of nodes that all reach one another, biggest group first.

    A node that points at itself and at nobody else who points back is no group.
    """
    reached = reachable(arrows)
    groups: list[list[str]] = []
    grouped: set[str] = set()
    for node in sorted(reached):
        if node in grouped:
            continue
        group = {node} | {other for other in reached[node] if node in reached.get(other, ())}
        grouped |= group
        if len(group) > 1:
            groups.append(sorted(group))
    return sorted(groups, key=len, reverse=True)


def longest_path(arrows: Arrows) -> list[str]:
    """Returns the nodes of a longest path; of a circle, a path enters only one node.

    Of several longest paths, the alphabetically first node decides at each step.
    """
    representative = {node: node for node in _nodes(arrows)}
    for group in circles(arrows):
        representative.update(dict.fromkeys(group, group[0]))
    merged: dict[str, set[str]] = {node: set() for node in representative.values()}
    for node, targets in arrows.items():
        merged[representative[node]] |= {representative[target] for target in targets}
    best: dict[str, list[str]] = {}
    for node in _bottom_up(merged):
        below = [best[target] for target in sorted(merged[node] - {node})]
        best[node] = [node, *max(below, key=len, default=[])]
    return max((best[node] for node in sorted(best)), key=len, default=[])


def reduced(arrows: Arrows) -> dict[str, set[str]]:
    """Returns the graph without the arrows that a longer path replaces (transitive reduction).

    Raises:
        ValueError: the graph has a circle, so that no single smallest graph stands for it.
    """
    if found := circles(arrows):
        message = f"a graph with the circle {' '.join(found[0])} has no transitive reduction"
        raise ValueError(message)
    reached = reachable(arrows)
    kept: dict[str, set[str]] = {}
    for node in _nodes(arrows):
        targets = set(arrows.get(node, ())) - {node}
        kept[node] = targets - {end for target in targets for end in reached[target]}
    return kept


def shortest_path(arrows: Arrows, start: str, end: str) -> list[str]:
    """Returns the nodes of a shortest path from one node to another; empty when there is none."""
    came_from: dict[str, str] = {}
    waiting = deque([start])
    while waiting:
        node = waiting.popleft()
        if node == end:
            return _walked_back(came_from, start, end)
        for target in sorted(arrows.get(node, ())):
            if target not in came_from and target != start:
                came_from[target] = node
                waiting.append(target)
    return []


def _walked_back(came_from: Mapping[str, str], start: str, end: str) -> list[str]:
    path = [end]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]


def _nodes(arrows: Arrows) -> list[str]:
    return sorted(set(arrows) | {target for targets in arrows.values() for target in targets})


def _reached_from(node: str, arrows: Arrows) -> set[str]:
    reached: set[str] = set()
    waiting = list(arrows.get(node, ()))
    while waiting:
        current = waiting.pop()
        if current not in reached:
            reached.add(current)
            waiting.extend(arrows.get(current, ()))
    return reached


def _bottom_up(arrows: Mapping[str, set[str]]) -> list[str]:
    """Returns the nodes of a graph without circles, each behind all that it points at."""
    reached = reachable(arrows)
    return sorted(reached, key=lambda node: (len(reached[node] - {node}), node))
