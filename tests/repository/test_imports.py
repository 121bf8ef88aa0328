"""No module of tulle imports itself through others: arrows between modules run one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from paths import ROOT

PACKAGE = ROOT / "py" / "tulle"

Edges = dict[str, set[str]]


def modules(root: Path) -> dict[str, Path]:
    """Every module below a package's folder, by its name."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(tree: ast.AST, *, in_functions: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """What runs when the module is loaded, or what is imported in its functions; not what only type checkers see."""

    def walk(node: ast.AST, inside: bool) -> Iterator[ast.Import | ast.ImportFrom]:
        if isinstance(node, ast.Import | ast.ImportFrom) and inside == in_functions:
            yield node
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    return walk(tree, False)


def imported(node: ast.Import | ast.ImportFrom, importer: str, known: dict[str, Path]) -> set[str]:
    """The modules among `known` that an import statement of `importer` loads, packages on the way included."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        assert node.level == 0, f"{importer} imports relatively"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        names = [name if name in known else str(node.module) for name in names]
    loaded = set()
    for name in names:
        parts = name.split(".")
        loaded |= {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
        # Packages that the importer lies in are loaded already, whoever it is that they import.
        if name != importer:
            loaded -= {package for package in loaded if importer.startswith(f"{package}.") and package != name}
    return (loaded & known.keys()) - {importer}


def edges(known: dict[str, Path], *, in_functions: bool = False) -> Edges:
    trees = {name: ast.parse(path.read_text()) for name, path in known.items()}
    return {
        name: {target for node in imports(tree, in_functions=in_functions) for target in imported(node, name, known)}
        for name, tree in trees.items()
    }


def way(graph: Edges, start: str, end: str) -> list[str]:
    """A chain of imports from one module to another; empty if there is none."""
    chains = [[start]]
    seen = {start}
    for chain in chains:  # grows while it is read
        for target in sorted(graph[chain[-1]]):
            if target == end:
                return [*chain, end]
            if target not in seen:
                seen.add(target)
                chains.append([*chain, target])
    return []


def circles(root: Path) -> list[str]:
    """Chains of imports that lead back to where they begin: when modules are loaded, and if function bodies' were."""
    known = modules(root)
    graph = edges(known)
    found = {frozenset(chain): " -> ".join(chain) for name in known if (chain := way(graph, name, name))}
    for name, targets in edges(known, in_functions=True).items():
        for target in targets:
            if chain := way(graph, target, name):
                found[frozenset(chain)] = f"{name} (in a function) -> {' -> '.join(chain)}"
    return sorted(found.values())


def test_nothing_imports_in_a_circle() -> None:
    assert circles(PACKAGE) == []


def test_a_circle_would_be_seen(tmp_path: Path) -> None:
    root = tmp_path / "p"
    (root / "q").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "q" / "__init__.py").write_text("from p.q.a import x")
    (root / "q" / "a.py").write_text("from p import b\nx = b")
    (root / "b.py").write_text("if TYPE_CHECKING:\n    from p.q import x")
    assert circles(root) == []
    (root / "b.py").write_text("def f():\n    from p.q import x")
    assert circles(root) == ["p.b (in a function) -> p.q -> p.q.a -> p.b"]
    (root / "b.py").write_text("from p.q import x")
    assert len(circles(root)) == 1 and "p.q.a -> p.b" in circles(root)[0]


def test_ops_load_neither_pytorch_nor_readers_of_files() -> None:
    """Models run where none of these is installed, and PyTorch takes seconds to load."""
    code = "import sys, tulle.ops, tulle.graph.reference; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    names = {name.split(".")[0] for name in loaded.stdout.split()}
    assert "numpy" in names and names.isdisjoint({"torch", "tflite", "onnx", "flatbuffers", "wasmtime"})
