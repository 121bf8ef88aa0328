"""A minimum cut: divides vertices into two sides at the least total cost of the groups that are split."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Iterable

Vertex = Hashable


class MinimumCut:
    """Collects costs, then finds a cheapest division by augmenting paths (Edmonds and Karp)."""

    def __init__(self) -> None:
        self._capacity: dict[Vertex, dict[Vertex, float]] = {}
        self._groups = 0

    def keep_together(self, vertices: Iterable[Vertex], cost: int) -> None:
        """Adds `cost`, once, if the vertices do not all end up on one side."""
        # Any vertex on the source's side pulls `entry` there, any on the other pulls `exit` to the sink's.
        self._groups += 1
        entry, exit_ = ("entry", self._groups), ("exit", self._groups)
        self._connect(entry, exit_, cost)
        for vertex in vertices:
            self._connect(vertex, entry, math.inf)
            self._connect(exit_, vertex, math.inf)

    def _connect(self, start: Vertex, end: Vertex, capacity: float) -> None:
        self._capacity.setdefault(start, {})[end] = capacity
        self._capacity.setdefault(end, {}).setdefault(start, 0)

    def source_side(self, source: Vertex, sink: Vertex) -> set[Vertex]:
        """The vertices on the source's side of a cheapest division (the smallest such side). Call it once."""
        while True:
            came_from: dict[Vertex, Vertex] = {source: source}
            queue = deque([source])
            while queue and sink not in came_from:
                vertex = queue.popleft()
                for neighbour, left in self._capacity.get(vertex, {}).items():
                    if left > 0 and neighbour not in came_from:
                        came_from[neighbour] = vertex
                        queue.append(neighbour)
            if sink not in came_from:
                return set(came_from)
            path = [sink]
            while path[-1] != source:
                path.append(came_from[path[-1]])
            steps = list(zip(path[1:], path, strict=False))
            flow = min(self._capacity[start][end] for start, end in steps)
            for start, end in steps:
                self._capacity[start][end] -= flow
                self._capacity[end][start] += flow
