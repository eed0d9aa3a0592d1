"""Do the runbooks of keys do what they say? Every command in them, run by the people they name, in order."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from examples.stack import PEOPLE, Stack

ROOT = Path(__file__).resolve().parents[2]
FIRST, *OTHERS = PEOPLE
OPERATOR, DPO = "operator/drift", "dpo/dpo"
PLACEHOLDER = re.compile(r"\b[0-9a-f]{8}\b")  # a change's id, as the runbooks write it


def commands(name: str) -> list[list[str]]:
    """Return the code lines of a runbook that are commands of kinlink."""
    text = (ROOT / "docs" / "how-to" / name).read_text("utf-8").replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("    kinlink ")]


def _attested(said: str) -> list[str]:
    found = [line for line in said.splitlines() if line.startswith("attested ")]
    assert found
    return found


@dataclass
class Runbook:
    """Runs a runbook's commands, and remembers the change that they are about."""

    stack: Stack
    folder: Path
    source: str
    change: str = ""
    approved: set[str] = field(default_factory=set)

    def run(self, name: str) -> list[str]:
        """Run all of it; return what each command said."""
        found = commands(name)
        assert found
        return [self.step(words) for words in found]

    def step(self, words: list[str]) -> str:
        words = [self.change if PLACEHOLDER.fullmatch(word) else word for word in words]
        match words[:2]:
            case ["approvals", "show"]:
                return self.by(DPO, *words)
            case ["keys", "approve"]:
                return self.approve()
            case ["keys", "rekey"]:
                return self.rekey(words)
            case ["audit", _]:
                return self.by(DPO, *words)
            case ["keys", "propose" | "compromise"]:
                said = self.by(FIRST, *words, "--yes")
                named = re.search(r"^change (\S+): ", said, re.MULTILINE)
                self.change = named[1] if named else ""
                return said
            case ["keys", "activate" | "apply" | "destroy"] if self.change not in self.approved:
                self.approve()
        return self.by(FIRST, *words)

    def approve(self) -> str:
        self.approved.add(self.change)
        return "".join(self.by(party, "keys", "approve", self.change, "--yes") for party in OTHERS)

    def rekey(self, words: list[str]) -> str:
        if "--linker" in words:
            return self.by(OPERATOR, *words)
        if "--complete" in words and "borgere.csv" not in words:
            words = [*words, "--kind", "replacement"]  # the file holds the other kind
        said = self.by(self.source, *words)
        if "--complete" in words:
            again = self.by(self.source, *words)
            assert _attested(again) == _attested(said), "repeating it states the same"
        return said

    def by(self, party: str, *words: str) -> str:
        said = subprocess.run(
            self.stack.command(*words),
            cwd=self.folder,
            env=self.stack.environment(party),
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.returncode == 0, f"{party}: kinlink {shlex.join(words)}: {said.stderr}"
        return said.stdout


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as started:
        yield started


@pytest.mark.slow
def test_rotation_and_destruction_by_the_book(stack: Stack, tmp_path: Path) -> None:
    numbers = [f"{61 + place:02d}0190{1000 + place}" for place in range(28)]
    (tmp_path / "cpr.csv").write_text("cpr\n" + "\n".join(numbers) + "\n", encoding="utf-8")
    book = Runbook(stack, tmp_path, "source/prisme")
    book.by("source/prisme", "pseudonymise", "cpr.csv", "--column", "cpr", "--out", "borgere.csv")
    before = (tmp_path / "borgere.csv").read_text("utf-8")
    assert "source/prisme.1." in before

    rotated = "".join(book.run("rotate-a-key.md"))

    after = (tmp_path / "borgere.csv").read_text("utf-8")
    assert "source/prisme.2." in after
    assert "source/prisme.1." not in after
    assert "holders done" in rotated
    assert "28 held and carried over" in rotated

    destroyed = "".join(book.run("destroy-a-key.md"))
    assert "destroyed" in destroyed
    shown = stack.run(FIRST, "keys", "show", "source/prisme").stdout
    assert len(re.findall(r"\bdestroyed\b", shown)) >= 2, shown  # both kinds
    assert len(re.findall(r"\bactive\b", shown)) >= 2, shown


@pytest.mark.slow
def test_leaked_key_by_the_book(stack: Stack, tmp_path: Path) -> None:
    book = Runbook(stack, tmp_path, "source/dubu")
    book.run("respond-to-a-leaked-key.md")
    for kind in ("cpr", "replacement"):
        book.by("source/dubu", "keys", "rekey", "--complete", "--kind", kind)
    book.by(OPERATOR, "keys", "rekey", "--linker")
    book.step(["keys", "propose", "destroy", "source/dubu", "--reason", "the leaked version is left"])
    book.step(["keys", "destroy", "3f2a91c0"])
    shown = stack.run(FIRST, "keys", "show", "source/dubu").stdout
    assert "destroyed" in shown
    assert "compromised" in shown
