"""Write docs/reference/ from the code: data dictionary, RPCs, access, settings.

Run by `make fix`; `make check` runs it with --check, which writes nothing and
fails when a committed page is stale.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from importlib import resources
from itertools import pairwise
from pathlib import Path

from google.protobuf import descriptor_pb2 as d
from grpc_tools import protoc
from pydantic.fields import FieldInfo

from linker.settings import LinkerSettings
from pseudonymizer.settings import PseudonymizerSettings
from servicekit.settings import ServerSettings
from tools.data_dictionary import dictionary_da, dictionary_en
from tools.key_lifecycle import key_lifecycle
from tools.linkage_schemas import linkage_schemas
from tools.markdown import NOTE, table

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "reference"


def rpcs() -> Iterator[str]:
    """Yield every service, RPC, message and enum with its comment in proto/."""
    yield "# RPC reference"
    yield NOTE
    yield (
        "Every call is gRPC over TLS with a client certificate. Errors carry a `google.rpc.ErrorInfo` whose reason is "
        "stable; the numbers in brackets are field numbers. Who may call what: [access.md](access.md)."
    )
    for file in _descriptors():
        comments = {tuple(spot.path): _comment(spot.leading_comments) for spot in file.source_code_info.location}
        yield f"\n## {file.package}\n"
        for i, service in enumerate(file.service):
            yield f"### {service.name}\n\n{comments.get((6, i), '')}\n"
            for j, method in enumerate(service.method):
                asked = ("stream " if method.client_streaming else "") + _short(method.input_type)
                answer = ("stream " if method.server_streaming else "") + _short(method.output_type)
                yield f"- **{method.name}**({asked}) → {answer}  \n  {comments.get((6, i, 2, j), '')}"
            yield ""
        for i, enum in enumerate(file.enum_type):
            yield f"### {enum.name}\n\n{comments.get((5, i), '')}\n"
            rows = ((f"`{v.name}` [{v.number}]", comments.get((5, i, 2, j), "")) for j, v in enumerate(enum.value))
            yield from table(("value", "meaning"), rows)
        for i, message in enumerate(file.message_type):
            yield f"### {message.name}\n\n{comments.get((4, i), '')}\n"
            if message.field:
                rows = (
                    (f"`{f.name}` [{f.number}]", _field_type(f), comments.get((4, i, 2, j), ""))
                    for j, f in enumerate(message.field)
                )
                yield from table(("field", "type", "meaning"), rows)


def _descriptors() -> list[d.FileDescriptorProto]:
    protos = sorted(str(path) for path in (ROOT / "proto").rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image"
        arguments = [f"-I{ROOT / 'proto'}", f"-I{resources.files('grpc_tools') / '_proto'}"]
        if protoc.main(["protoc", *arguments, "--include_source_info", f"--descriptor_set_out={image}", *protos]):
            raise SystemExit("protoc failed")
        return list(d.FileDescriptorSet.FromString(image.read_bytes()).file)


def _comment(text: str) -> str:
    return " ".join(text.split())


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _field_type(field: d.FieldDescriptorProto) -> str:
    word = _short(field.type_name) or d.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    return f"repeated {word}" if field.label == d.FieldDescriptorProto.LABEL_REPEATED else word


def access() -> Iterator[str]:
    """Yield who may call what, as the access tables say."""
    yield "# Who may call what"
    yield NOTE
    yield (
        "What is not listed is refused. A name stands for one certificate, `*` for any other of the role. The "
        "pseudonymizer asks its policy (domains, grants, budgets) besides."
    )
    for service in ("pseudonymizer", "linker"):
        yield f"\n## {service}\n"
        rules = tomllib.loads((ROOT / "services" / service / "access.toml").read_text(encoding="utf-8"))["allow"]
        callers: dict[str, list[str]] = {}
        for rule in rules:
            limits = "; ".join(f"{key} {', '.join(value) or 'none'}" for key, value in rule.get("limits", {}).items())
            for rpc in _several(rule["rpc"]):
                for role in _several(rule["role"]):
                    caller = f"{role}/{rule.get('name', '*')}"
                    callers.setdefault(rpc, []).append(f"{caller} ({limits})" if limits else caller)
        yield from table(("RPC", "callers"), ((f"`{rpc}`", ", ".join(who)) for rpc, who in sorted(callers.items())))


def _several(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def settings() -> Iterator[str]:
    """Yield the settings of both services, from their classes."""
    yield "# Settings"
    yield NOTE
    yield (
        "`kinlink serve pseudonymizer --config FILE` and `kinlink serve linker --config FILE` read a TOML file; the "
        "demo leaves one of each in `.demo/town/stack/`, to copy from. Each setting can be overridden by the "
        "environment variable `KINLINK_` and its name in capitals. Relative paths are relative to the file. An unknown "
        "setting stops the start."
    )
    shared = set(ServerSettings.model_fields)
    for title, cls, left_out in (
        ("both services", ServerSettings, set()),
        ("pseudonymizer", PseudonymizerSettings, shared),
        ("linker", LinkerSettings, shared),
    ):
        yield f"\n## {title}\n"
        notes = _notes(Path(inspect.getfile(cls)))
        fields = {name: field for name, field in cls.model_fields.items() if name not in left_out}
        rows = ((f"`{name}`", _default(field), notes.get(name, "")) for name, field in fields.items())
        yield from table(("setting", "default", "meaning"), rows)


def _notes(path: Path) -> dict[str, str]:
    """Return the string that stands after each annotated field of the classes in `path`."""
    notes = {}
    for cls in ast.parse(path.read_text(encoding="utf-8")).body:
        body = cls.body if isinstance(cls, ast.ClassDef) else []
        for node, after in pairwise(body):
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                notes[ast.unparse(node.target)] = _comment(after.value.value)
    return notes


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Path):
        return "the shipped file" if value.is_absolute() else f"`{value}`"
    return f"`{json.dumps(value)}`" if value not in (None, "", {}) else "none"


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "data-dictionary.md": dictionary_en,
    "data-dictionary.da.md": dictionary_da,
    "rpc.md": rpcs,
    "access.md": access,
    "settings.md": settings,
    "key-lifecycle.md": key_lifecycle,
    "linkage-schemas.md": linkage_schemas,
}


def main() -> None:
    """Write the pages, or with --check compare them."""
    stale = []
    for name, page in PAGES.items():
        text = "\n".join(page()).replace(f"\n{NOTE}\n", f"\n\n{NOTE}\n\n").rstrip() + "\n"
        text = re.sub(r"\n{3,}", "\n\n", text)
        path = OUT / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if "--check" in sys.argv:
            stale.append(str(path.relative_to(ROOT)))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale:
        raise SystemExit(f"stale, run `make fix`: {', '.join(stale)}")


if __name__ == "__main__":
    main()
