"""The import law: who may import whom, directly and through others."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.imports import Graph, is_within, reachable, read_graph, third_party

SERVICES = Path(__file__).parents[2] / "services"
PLUMBING = {"google", "grpc", "grpc_health", "grpc_status", "opentelemetry", "pydantic", "sqlalchemy", "structlog"}

# Package → other distributions it may import.
DISTRIBUTIONS = {
    "kinlink": {"cryptography", "google", "grpc", "grpc_health", "grpc_status", "pysodium"},
    "kinlink.delivery": {"charset_normalizer", "grpc", "numpy", "polars", "pyarrow"},
    "kinlink.cli": {"cryptography", "grpc", "polars", "pyarrow", "rich", "typer", "xlsxwriter"},
    "kinlink.encoding": {"cryptography", "numpy", "polars", "pyarrow"},
    "kinlink.report": {"grpc", "jinja2"},
    "servicekit": PLUMBING | {"alembic", "cryptography", "grpc_reflection", "obstore", "pydantic_settings"},
    "pseudonymizer": PLUMBING | {"alembic", "cryptography"},
    "pseudonymizer.keystore": PLUMBING | {"azure", "cryptography", "hvac", "pkcs11", "requests"},
    "linker": PLUMBING | {"alembic", "deltalake", "highspy", "numpy", "polars", "pyarrow", "scipy"},
}
# The clients take and return frames: polars, and Arrow on the wire, in these files as well.
FRAME_CLIENTS = (
    "kinlink.client",
    "kinlink.pseudonymizer_client",
    "kinlink.statistics_client",
    "kinlink.released",
    "kinlink.intake_client",
)
# Package → our other packages it may import, contract included.
OURS = {
    "kinlink": (),
    "servicekit": ("kinlink.audit", "kinlink.channel", "kinlink.errors"),
    "pseudonymizer": (
        "kinlink.approvals", "kinlink.audit", "kinlink.change_document", "kinlink.cpr", "kinlink.genesis",
        "kinlink.pseudonyms", "kinlink.pseudonymizer", "kinlink.ristretto255", "kinlink.signed_change", "kinlink.types",
        "servicekit",
    ),
    "linker": (
        "kinlink.blinding", "kinlink.channel", "kinlink.conversion_client", "kinlink.delivery.dataset",
        "kinlink.delivery.datasets", "kinlink.delivery.refused_values", "kinlink.ed25519", "kinlink.encoding.schema",
        "kinlink.errors", "kinlink.linker", "kinlink.policy_signatures",
        "kinlink.pseudonymizer", "kinlink.pseudonyms", "kinlink.rekeying_client", "kinlink.ristretto255",
        "kinlink.types", "servicekit",
    ),
}  # fmt: skip
# Package → what it may not reach through anything.
NEVER_REACHED = {
    "kinlink": ("linker", "pseudonymizer", "servicekit"),
    "servicekit": ("kinlink.cpr", "linker", "pandas", "polars", "pseudonymizer"),
    "pseudonymizer": ("kinlink.cli", "kinlink.delivery", "linker", "pandas", "polars"),
    "linker": (
        "kinlink.cli",
        "kinlink.cpr",
        "kinlink.encoding.encode",
        "kinlink.encoding.filters",
        "kinlink.encoding.keys",
        "kinlink.encoding.normalise",
        "kinlink.encoding.tokens",
        "kinlink.encoding_key_client",
        "kinlink.pseudonymizer_client",
        "pandas",
        "pseudonymizer",
    ),
}
# Decisions without I/O, clock, randomness, wire types or the environment.
PURE = (
    "kinlink.approvals",
    "kinlink.audit.align",
    "kinlink.audit.entry",
    "kinlink.audit.findings",
    "kinlink.audit.merkle",
    "kinlink.audit.note",
    "kinlink.audit.reading",
    "kinlink.audit.verify",
    "kinlink.signed_change",
    "kinlink.change_document",
    "kinlink.cpr",
    "kinlink.encoding",
    "kinlink.genesis",
    "kinlink.policy_signatures",
    "kinlink.report.figures",
    "kinlink.report.log_rows",
    "kinlink.report.outliers",
    "kinlink.report.plots",
    "kinlink.report.sample",
    "linker.frames",
    "linker.families",
    "linker.linkage.aliases",
    "linker.linkage.comparable",
    "linker.linkage.fuzzy",
    "linker.linkage.linkage_notes",
    "linker.linkage.links",
    "linker.linkage.policy",
    "linker.linkage.quality",
    "linker.linkage.register",
    "linker.disclosure",
    "linker.tables",
    "linker.toml_entry",
)
READS_A_FILE = ("linker.linkage.policy", "linker.tables.registry", "linker.tables.target_groups")
IMPURE = ("grpc", "logging", "opentelemetry", "os", "random", "secrets", "socket", "sqlalchemy", "structlog", "time")


def violations(graph: Graph) -> list[str]:
    """Return a line for each breach of the law."""
    found = []
    for module, imported in graph.items():
        top = module.partition(".")[0]
        if top not in OURS or "_pb2" in module:
            continue
        part = max((p for p in DISTRIBUTIONS if is_within(module, (p,))), key=len)
        others = third_party(imported, graph) - DISTRIBUTIONS[part]
        if is_within(module, FRAME_CLIENTS):
            others -= {"polars", "pyarrow"}
        found += [f"{module} imports {name}" for name in others]
        ours = {name for name in imported if name in graph and not is_within(name, (top,))}
        # A package's own __init__ comes with any of its modules.
        allowed = OURS[top] + tuple(p.rpartition(".")[0] for p in OURS[top] if p.count(".") > 1)
        found += [f"{module} imports {name}" for name in ours if name != "kinlink" and not is_within(name, allowed)]
        found += [
            f"{module} reaches {name}" for name in reachable(graph, module) if is_within(name, NEVER_REACHED[top])
        ]
        if is_within(module, PURE):
            found += [f"{module} is pure and reaches {n}" for n in _impurities(graph, module)]
    return sorted(found)


def _impurities(graph: Graph, module: str) -> set[str]:
    forbidden = IMPURE if is_within(module, READS_A_FILE) else (*IMPURE, "pathlib")
    direct = {name for name in graph[module] if is_within(name, forbidden) or "_pb2" in name}
    return direct | (reachable(graph, module) & {"grpc", "opentelemetry", "sqlalchemy"})


@cache
def services() -> Graph:
    return read_graph(SERVICES)


def test_law_is_kept() -> None:
    assert {"kinlink.channel", "servicekit.server", "pseudonymizer", "linker.frames"} <= set(services())
    assert violations(services()) == []


def test_pure_modules_ask_no_clock() -> None:
    """`datetime` is a type to them, not a clock."""
    pure = [name for name in services() if is_within(name, PURE)]
    for name in pure:
        path = SERVICES / Path(*name.split("."))
        tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
        asked = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & {"now", "utcnow", "today"}
        assert not asked, name


@pytest.mark.parametrize(
    "listed", [*PURE, *READS_A_FILE, *FRAME_CLIENTS, *(n for names in OURS.values() for n in names)]
)
def test_law_names_modules_that_exist(listed: str) -> None:
    assert listed in services()


BREACHES = {
    "kinlink/channel.py": ("import servicekit.server", "kinlink.channel imports servicekit.server"),
    "kinlink/errors.py": ("import polars", "kinlink.errors imports polars"),
    "kinlink/delivery/read.py": ("import pandas", "kinlink.delivery.read imports pandas"),
    "servicekit/server.py": ("from kinlink import cpr", "servicekit.server imports kinlink.cpr"),
    "servicekit/budget.py": ("def f():\n    import polars", "servicekit.budget imports polars"),
    "pseudonymizer/doors.py": ("from linker import frames", "pseudonymizer.doors reaches linker.frames"),
    "pseudonymizer/keyset.py": ("import kinlink.delivery.datasets", "pseudonymizer.keyset reaches polars"),
    "linker/runs.py": ("from kinlink.cpr import CPRNumber", "linker.runs imports kinlink.cpr"),
    "linker/linkage/fuzzy.py": (
        "from kinlink.encoding import tokens",
        "linker.linkage.fuzzy reaches kinlink.encoding.tokens",
    ),
    "linker/review.py": ("import kinlink.encoding_key_client", "linker.review reaches kinlink.encoding_key_client"),
    "linker/store/delta.py": ("import pandas as pd", "linker.store.delta imports pandas"),
    "linker/disclosure/gate.py": ("import time", "linker.disclosure.gate is pure and reaches time"),
    "linker/families/couples.py": ("import linker.runs", "linker.families.couples is pure and reaches grpc"),
    "linker/tables/services.py": ("from pathlib import Path", "linker.tables.services is pure and reaches pathlib"),
}


def plant(root: Path, file: str, text: str) -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in path.relative_to(root).parents:
        if folder.name:
            (root / folder / "__init__.py").touch()
    path.write_text(text)


@pytest.mark.parametrize("file", BREACHES)
def test_breach_is_found(tmp_path: Path, file: str) -> None:
    """The law can fail: each kind of breach, planted, is named."""
    for lawful, text in {
        "servicekit/server.py": "import grpc",
        "kinlink/cpr.py": "",
        "kinlink/delivery/datasets.py": "import polars",
        "linker/frames.py": "from __future__ import annotations",
        "linker/runs.py": "import grpc",
        "kinlink/encoding/tokens.py": "",
        "kinlink/encoding_key_client.py": "",
    }.items():
        plant(tmp_path, lawful, text)
    assert violations(read_graph(tmp_path)) == []
    text, expected = BREACHES[file]
    plant(tmp_path, file, text)
    assert expected in violations(read_graph(tmp_path))


def test_import_for_types_only_is_no_import(tmp_path: Path) -> None:
    plant(tmp_path, "servicekit/budget.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import polars")
    assert violations(read_graph(tmp_path)) == []
