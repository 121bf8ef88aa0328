"""The includes of the C library lead one way: kernels <- ops <- the planner's stages, and nowhere in a circle."""

from __future__ import annotations

import re
from pathlib import Path

from paths import ROOT

WASM = ROOT / "wasm"
# The stages of planning and what they fill, of which ops see nothing.
PLANNERS_OWN = {"plan", "forms", "groups", "placement", "band", "model", "api", "loader"}


def includes(root: Path = WASM) -> dict[str, set[str]]:
    """What each module, a .c or .cc file with its header, includes of the others. Lists (.inc) are by themselves."""

    def module(path: Path) -> str:
        return path.as_posix() if path.suffix == ".inc" else path.with_suffix("").as_posix()

    graph: dict[str, set[str]] = {}
    for path in [*root.rglob("*.c"), *root.rglob("*.cc"), *root.rglob("*.h"), *root.rglob("*.inc")]:
        name = module(path.relative_to(root))
        named = re.findall(r'^#\s*include "([^"]+)"', path.read_text(), re.MULTILINE)
        files = [file for file in named if (root / file).exists()]
        graph.setdefault(name, set()).update({module(Path(file)) for file in files} - {name})
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of a circle of includes; empty if there is none."""
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        found = next(filter(None, (visit(other, [*trail, name]) for other in sorted(graph[name]))), [])
        done.add(name)
        return found

    return next(filter(None, (visit(name, []) for name in sorted(graph))), [])


def reached(graph: dict[str, set[str]], name: str) -> set[str]:
    """All modules that a module includes, and those that they include."""
    found, waiting = set(), [name]
    while waiting:
        for other in graph[waiting.pop()] - found:
            found.add(other)
            waiting.append(other)
    return found


def test_nothing_includes_itself_in_a_circle() -> None:
    assert circle(includes()) == []


def test_a_circle_is_found(tmp_path: Path) -> None:
    for name, other in (("a.h", "b.h"), ("b.c", "b.h"), ("b.h", ""), ("c.h", "a.h")):
        (tmp_path / name).write_text(f'#include "{other}"\n' if other else "")
    assert circle(includes(tmp_path)) == []
    (tmp_path / "b.c").write_text('#include "b.h"\n#include "c.h"\n')  # the source of a header counts too
    assert circle(includes(tmp_path)) == ["a", "b", "c", "a"]


def test_kernels_know_nothing_of_models() -> None:
    graph = includes()
    for name in graph:
        if name.startswith("kernels/"):
            assert {other.split("/")[0] for other in reached(graph, name)} <= {"kernels", "format"}, name


def test_nothing_knows_of_backgrounds() -> None:
    graph = includes()
    assert "compose/compositor" in graph
    for name in graph:
        if not name.startswith("compose/"):
            assert not any(other.startswith("compose/") for other in graph[name]), name


def test_ops_see_nothing_of_the_planner_but_its_interface() -> None:
    graph = includes()
    assert {f"runtime/{name}" for name in PLANNERS_OWN} <= set(graph)
    for name in graph:
        if name.startswith("ops/"):
            assert not reached(graph, name) & {f"runtime/{own}" for own in PLANNERS_OWN}, name
