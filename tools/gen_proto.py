"""Generate Python code from proto/ into services/, the same path as the proto's.

Run by `make fix`; `make check` runs it with --check, which writes nothing and
fails when the committed code is stale.
"""

from __future__ import annotations

import filecmp
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent


def generate(target: Path) -> list[Path]:
    """Generate all protos below `target`; return the files, relative to it."""
    protos = sorted((ROOT / "proto").rglob("*.proto"))
    include = resources.files("grpc_tools") / "_proto"
    plugins = Path(sys.executable).parent
    arguments = [
        "protoc",
        f"-I{ROOT / 'proto'}",
        f"-I{include}",
        f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
        f"--python_out={target}",
        f"--grpc_python_out={target}",
        f"--mypy_out=quiet:{target}",
        f"--mypy_grpc_out=quiet:{target}",
        *map(str, protos),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed")
    for package in {path.parent for path in target.rglob("*_pb2*.py*")}:
        (package / "__init__.py").touch()
        (package.parent / "__init__.py").touch()
    # Messages alone have no service: drop the empty stubs.
    for stub in (*target.rglob("types_pb2_grpc.py"), *target.rglob("types_pb2_grpc.pyi")):
        stub.unlink()
    return sorted(path.relative_to(target) for path in target.rglob("*_pb2*.py*"))


def main() -> None:
    """Write the generated code, or with --check compare it."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        files = generate(fresh)
        committed = sorted(
            path.relative_to(ROOT / "services")
            for path in (ROOT / "services").rglob("*_pb2*.py*")
            if path.suffix != ".pyc"
        )
        if "--check" in sys.argv:
            stale = [
                str(f)
                for f in files
                if f not in committed or not filecmp.cmp(fresh / f, ROOT / "services" / f, shallow=False)
            ]
            stale += [str(f) for f in committed if f not in files]
            if stale:
                raise SystemExit(f"generated code is stale, run `make fix`: {', '.join(stale)}")
            return
        for file in files:
            path = ROOT / "services" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(fresh / file, path)
            for parent in (path.parent, path.parent.parent):
                (parent / "__init__.py").touch()


if __name__ == "__main__":
    main()
