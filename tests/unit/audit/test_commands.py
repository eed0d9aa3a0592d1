"""`kinlink audit`: what it says, and what when something is amiss. Forgeries: tests/privacy/test_tampering.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinlink.audit.export import Export
from kinlink.audit.kept import companion
from kinlink.dev_certificates import make_certificates
from tests.served_log import ORIGIN, ask, said, served
from tests.unit.audit.logs import KEY, LOG_KEY, Log, honest


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder, ("dpo/dpo", "service/pseudonymizer"), days=1, trust_domain="kinlink.test")
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[Path]:
    with served(tmp_path_factory.mktemp("service"), certificates) as found:
        yield found


def entries(text: str) -> list[dict[str, object]]:
    """Return the entries among what was said; the service logs to this process."""
    return [json.loads(line) for line in text.splitlines() if line.startswith('{"caller"')]


def test_tail_shows_the_newest(settings: Path) -> None:
    said("checkpoint", settings)
    text = said("tail", "--last", "2", settings)
    assert "GetCheckpoint" in text
    assert "dpo/dpo" in text
    found = entries(said("tail", "--last", "3", "--json", settings))
    assert [entry["index"] for entry in found] == list(range(found[0]["index"], found[0]["index"] + 3))  # type: ignore[call-overload, operator]
    assert entries(said("tail", "--json", "--outcome", "refused", settings)) == []
    assert "Checkpoint" not in said("tail", "--outcome", "failed", settings).partition("\n \n")[2]


def key_of(settings: Path) -> str:
    lines = said("checkpoint", "--key", settings).splitlines()
    return next(line for line in lines if line.startswith(f"{ORIGIN}+"))


def test_a_month(settings: Path, tmp_path: Path) -> None:
    """Checkpoint, its continuation, an export of a part and of all, verified, and an entry proven."""
    key = tmp_path / "log.key.txt"
    key.write_text(key_of(settings) + "\n")
    first, second = tmp_path / "1.checkpoint", tmp_path / "2.checkpoint"
    assert f"kept: {first}" in said("checkpoint", "--log-key", key, "--out", first, settings)
    assert f"it continues {first}" in said("checkpoint", "--log-key", key, "--after", first, "--out", second, settings)
    assert second.read_text() in said("checkpoint", settings) or second.read_text().startswith(f"{ORIGIN}\n")
    size = int(first.read_text().splitlines()[1])
    assert len(companion(first).read_bytes().partition(b"\n")[2]) == 32 * size
    said("export", "--out", tmp_path / "all.audit", settings)
    said("export", "--out", tmp_path / "part.audit", "--start", str(size), settings)
    assert (tmp_path / "all.audit").stat().st_mode & 0o077 == 0, "who asked for what is its owner's to show"
    for name in ("all", "part"):
        text = said("verify", tmp_path / f"{name}.audit", "--checkpoint", tmp_path, "--log-key", key)
        assert f"holds: {first}\nholds: {second}" in text
        assert "nothing was found" in text
        assert "not yet under a checkpoint that you kept, but the service has signed them" in text
    (proven,) = entries(said("prove", "0", "--checkpoint", first, "--log-key", key, settings))
    assert proven["index"] == 0
    code, text = ask("prove", str(size), "--checkpoint", first, "--log-key", key, settings)
    assert (code, "CHECKPOINT_TOO_OLD" in text) == (3, True)


@pytest.mark.parametrize(
    ("start", "end"), [("0", "1000000"), ("1000000", "0"), ("3", "2")], ids=["end", "start", "order"]
)
def test_export_beyond_the_log_is_refused(settings: Path, tmp_path: Path, start: str, end: str) -> None:
    code, text = ask("export", "--out", tmp_path / "x", "--start", start, "--end", end, settings)
    assert (code, "OUT_OF_RANGE" in text) == (3, True)
    assert list(tmp_path.iterdir()) == []


def test_empty_part_is_exported(settings: Path, tmp_path: Path) -> None:
    said("export", "--out", tmp_path / "x", "--start", "2", "--end", "2", settings)
    assert list(Export(tmp_path / "x").records()) == []


def test_evidence_is_not_overwritten(settings: Path, tmp_path: Path) -> None:
    out = tmp_path / "1.checkpoint"
    out.write_text("mine")
    for command in (("checkpoint", "--log-key", key_of(settings)), ("export",)):
        code, text = ask(*command, "--out", out, settings)
        assert (code, "OUT_EXISTS" in text) == (3, True)
    assert out.read_text() == "mine"
    code, text = ask("export", "--out", tmp_path / "none/x", settings)
    assert (code, "OUT_NOT_WRITABLE" in text) == (3, True)


def test_keeping_needs_the_key(settings: Path, tmp_path: Path) -> None:
    code, text = ask("checkpoint", "--out", tmp_path / "x", settings)
    assert (code, "--key" in text) == (2, True)


def test_findings_are_said_and_end_with_6(tmp_path: Path) -> None:
    log = honest(20)
    log.keep(tmp_path / "1.checkpoint", 10, after=0)
    forged = Log([*log.contents[:4], log.contents[5], *log.contents[5:]])
    code, text = ask("verify", forged.export(tmp_path / "x").path, "--checkpoint", tmp_path, "--log-key", str(LOG_KEY))
    assert code == 6
    assert "FOUND entry changed: Entry 4 was changed" in text
    assert "FOUND log rebuilt: The log was rebuilt and signed again: entries 0 to 9 differ" in text
    assert f"{LOG_KEY.name}: 2 findings. Keep these files as they are." in text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("none.audit", "--checkpoint", "1.checkpoint", "--log-key", str(LOG_KEY)), "NOT_READABLE"),
        (("1.checkpoint", "--checkpoint", "1.checkpoint", "--log-key", str(LOG_KEY)), "NO_EXPORT"),
        (("x.audit", "--checkpoint", "none", "--log-key", str(LOG_KEY)), "NOT_READABLE"),
        (("x.audit", "--checkpoint", "binary", "--log-key", str(LOG_KEY)), "NO_CHECKPOINT"),
        (("x.audit", "--checkpoint", "1.checkpoint", "--log-key", "none.txt"), "NOT_READABLE"),
        (("x.audit", "--checkpoint", "1.checkpoint", "--log-key", "1.checkpoint"), "KEY_MALFORMED"),
        (("x.audit", "--checkpoint", "1.checkpoint", "--log-key", "a+b+c"), "KEY_MALFORMED"),
        (
            ("x.audit", "--checkpoint", "1.checkpoint", "--log-key", str(LOG_KEY), "--earlier", "1.checkpoint"),
            "NO_EXPORT",
        ),
    ],
    ids=["no file", "no export", "no checkpoint", "no text", "no key", "not a key", "malformed key", "no earlier"],
)
def test_files_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    honest(3).keep(tmp_path / "1.checkpoint")
    honest(3).export(tmp_path / "x.audit")
    (tmp_path / "binary").write_bytes(b"\xff")
    code, text = ask("verify", *arguments)
    assert (code, reason in text) == (3, True), text


def test_key_may_be_a_file(tmp_path: Path) -> None:
    log = Log(honest(3).contents, key=KEY)
    log.keep(tmp_path / "1.checkpoint", after=0)
    (tmp_path / "key").write_text(f"{LOG_KEY}\n")
    told = (log.export(tmp_path / "x").path, "--checkpoint", tmp_path / "1.checkpoint", "--log-key", tmp_path / "key")
    assert "The first 3 entries are those that you kept.\n" in said("verify", *told)
    document = json.loads(said("verify", *told, "--json"))
    assert (document["ok"], document["proven_size"], document["findings"]) == (True, 3, [])
