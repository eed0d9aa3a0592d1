"""Do the documents tell the truth where a machine can check it: links, commands, code?"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import typer.main

from kinlink.cli.__main__ import build
from kinlink.delivery.mapping_file import load

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def documents() -> list[Path]:
    """Return the tracked Markdown files."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def anchors(path: Path) -> set[str]:
    """Return the anchors that a forge makes of the file's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code_lines() -> list[tuple[str, str]]:
    """Return (document, line) for each indented code line, continued lines joined."""
    found = []
    for path in documents():
        text = FENCE.sub("", path.read_text(encoding="utf-8")).replace("\\\n", " ")
        found += [(str(path.relative_to(ROOT)), line.strip()) for line in text.splitlines() if line.startswith("    ")]
    return found


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link names a file, and an anchor names a heading of it."""
    for target in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{target} leads nowhere"
        assert file.is_relative_to(ROOT), f"{target} leads out of the repository"
        assert not anchor or anchor in anchors(file), f"{target}: no such heading"


def test_commands_exist_with_their_options() -> None:
    """Every `kinlink …` line of the documents is one that the command line knows."""
    seen = set()
    joined = {point.name: point.module for point in entry_points(group="kinlink.commands")}
    for document, line in code_lines():
        if not line.startswith("kinlink "):
            continue
        words = shlex.split(line.partition(" > ")[0])[1:]
        join = next((name for name in (words[0], ".".join(words[:2])) if name in joined), "")
        if join:
            parser = import_module(joined[join]).parser()
            parser.parse_args(words[1:])  # ends the test where it would end the command
            seen.add(words[0])
            continue
        command = typer.main.get_command(build())
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        assert not hasattr(command, "commands"), f"{document}: {line}: no such command"
        options = {option for parameter in command.params for option in parameter.opts}
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= options, f"{document}: {line}: {given - options} unknown"
        seen.add(command.name)
    assert {"deliver", "get", "run", "keystore"} <= seen


def test_make_targets_exist() -> None:
    """Every `make …` line of the documents names a target."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lines = [(document, line) for document, line in code_lines() if line.startswith("make ")]
    assert lines
    for document, line in lines:
        assert re.search(rf"^{line.split()[1]}:", makefile, re.MULTILINE), f"{document}: {line}"


def test_python_examples_import_what_exists() -> None:
    """Every Python example parses, and each name that it imports from kinlink is there."""
    examples = [
        code
        for path in documents()
        for word, code in FENCE.findall(path.read_text(encoding="utf-8"))
        if word == "python"
    ]
    assert examples
    for code in examples:
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("kinlink"):
                module = import_module(str(node.module))
                assert all(hasattr(module, name.name) for name in node.names)


def test_mapping_examples_are_ones_that_the_client_reads(tmp_path: Path) -> None:
    """The mappings in the reference load, and say what the text around them says."""
    text = (ROOT / "docs" / "reference" / "mapping.md").read_text(encoding="utf-8")
    path, read = tmp_path / "mapping.toml", {}
    for word, example in FENCE.findall(text):
        if word == "toml":
            path.write_text(example, encoding="utf-8")
            mapping = load(path)
            read[mapping.dataset.name] = mapping.wanted()
    assert read["spells"] == ("Cpr", "Fra", "Indsats", "Takst", "Til")
    payers = "Erstatningsnr Fødselsdato Husnr Løbenr Navn Postnr Registrant Vej"
    assert read["payer_encodings"] == tuple(payers.split())
