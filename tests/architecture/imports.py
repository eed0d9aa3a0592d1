"""Reads who imports whom from source, without importing anything."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

Graph = Mapping[str, frozenset[str]]


def read_graph(root: Path) -> dict[str, frozenset[str]]:
    """Return module → modules it imports, for every Python file below `root`, imports within functions included.

    Names of other distributions are cut to their first part. An import under
    `if TYPE_CHECKING` does not count. Importing `a.b.c` imports `a` and `a.b`.
    """
    files = {_name(path.relative_to(root)): path for path in root.rglob("*.py")}
    packages = {name.partition(".")[0] for name in files}
    graph = {}
    for name, path in files.items():
        found: set[str] = set()
        for imported in _imports(ast.parse(path.read_text(encoding="utf-8")), name, path.name == "__init__.py"):
            top = imported.partition(".")[0]
            if top not in packages:
                found.add(top)
                continue
            parts = imported.split(".")
            prefixes = (".".join(parts[: length + 1]) for length in range(len(parts)))
            found.update(prefix for prefix in prefixes if prefix in files)
        graph[name] = frozenset(found - {name})
    return graph


def reachable(graph: Graph, module: str) -> frozenset[str]:
    """Return all that is imported when `module` is."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        for imported in graph.get(waiting.pop(), ()):
            if imported not in seen:
                seen.add(imported)
                waiting.append(imported)
    return frozenset(seen)


def is_within(module: str, packages: tuple[str, ...]) -> bool:
    """Say whether a module is one of `packages` or inside one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def third_party(modules: frozenset[str], graph: Graph) -> frozenset[str]:
    """Return those that are neither ours nor the standard library's."""
    return frozenset(m for m in modules if m not in graph and m not in sys.stdlib_module_names)


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                for other in node.orelse:
                    yield from _imports(other, module, is_package)
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=source, names=names, level=level):
                parts = module.split(".")
                base = ".".join(parts[: len(parts) - level + is_package]) if level else ""
                origin = ".".join(part for part in (base, source) if part)
                yield from (f"{origin}.{alias.name}" for alias in names)
            case _:
                yield from _imports(node, module, is_package)
