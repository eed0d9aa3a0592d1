"""Exports and kept files: what is written is read, and nothing else is."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from kinlink.audit.export import Export, Header, Leaf, write
from kinlink.audit.kept import Kept, KeptError, LeafHashes, companion, read
from kinlink.audit.merkle import leaf_hash
from tests.unit.audit.logs import LOG_KEY, ORIGIN, Log, entry, honest


def test_export_is_json_lines(tmp_path: Path) -> None:
    """Any tool reads it."""
    log = Log(honest(5).contents, signed_at=(2, 5))
    lines = [json.loads(line) for line in log.export(tmp_path / "log").path.read_text().splitlines()]
    assert lines[0] == {
        "form": "kinlink-audit-export-v1",
        "frontier": [],
        "origin": ORIGIN,
        "start": 0,
        "verifier_key": str(LOG_KEY),
    }
    assert [sorted(line) for line in lines[1:]] == [
        *[["entry", "leaf_hash"]] * 2, ["checkpoint"], *[["entry", "leaf_hash"]] * 3, ["checkpoint"], ["end"],
    ]  # fmt: skip
    assert lines[1]["entry"] == json.loads(entry(0))
    assert lines[1]["leaf_hash"] == leaf_hash(entry(0)).hex()
    assert lines[3]["checkpoint"] == log.note(2)
    assert lines[-1] == {"end": 5}


@pytest.mark.parametrize("start", [0, 1, 3, 4])
def test_export_reads_what_was_written(tmp_path: Path, start: int) -> None:
    log = Log(honest(5).contents, signed_at=(1, 3, 5))
    export = log.export(tmp_path / "log", start=start)
    assert export.header == Header(ORIGIN, str(LOG_KEY), start, log.frontier(start))
    records = [record for record, _ in export.records()]
    leaves = [record for record in records if isinstance(record, Leaf)]
    assert leaves == [Leaf(h, c) for h, c in zip(log.hashes, log.contents, strict=True)][start:]
    assert [record for record in records if isinstance(record, str)] == [
        log.note(size) for size in (1, 3, 5) if size > start
    ]
    assert [done for _, done in export.records()][-1] < export.bytes


def test_checkpoints_beyond_the_end_are_left_out(tmp_path: Path) -> None:
    log = Log(honest(5).contents, signed_at=(2, 3, 4, 5))
    export = log.export(tmp_path / "log", end=3)
    assert sum(isinstance(record, str) for record, _ in export.records()) == 2


def test_writing_takes_one_line_of_memory() -> None:
    """Lines leave while entries still come."""
    file = io.BytesIO()
    written = []

    def leaves() -> object:
        for index in range(5):
            written.append(file.tell())
            yield Leaf(leaf_hash(entry(index)), entry(index))

    write(file, Header(ORIGIN, str(LOG_KEY)), leaves(), [])  # type: ignore[arg-type]
    assert written == sorted(set(written))


@pytest.mark.parametrize(("start", "end"), [(0, 40), (0, 0), (13, 40), (40, 40)])
def test_leaf_hashes_give_the_root(start: int, end: int) -> None:
    log = honest(40)
    kept = LeafHashes(start, log.frontier(start), b"".join(log.hashes[start:end]))
    assert LeafHashes.parse(kept.to_bytes()) == kept
    assert (kept.size, kept.root()) == (end, LeafHashes(0, (), b"".join(log.hashes[:end])).root())
    assert [kept.at(index) for index in range(start, end)] == log.hashes[start:end]
    assert kept.at(start - 1) is kept.at(end) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"{}\n",
        b'{"form":"kinlink-audit-hashes-v1","frontier":[],"start":1}\n',
        b'{"form":"kinlink-audit-hashes-v1","frontier":[],"start":-1}\n',
        b'{"form":"kinlink-audit-hashes-v1","frontier":[],"start":0}\n12345',
        b'{"form":"kinlink-audit-hashes-v2","frontier":[],"start":0}\n',
        b'{"form":"kinlink-audit-hashes-v1","frontier":[5],"start":1}\n',
        b'{"form":"kinlink-audit-hashes-v1", "frontier":[],"start":0}\n',
    ],
)
def test_other_bytes_are_no_leaf_hashes(content: bytes) -> None:
    with pytest.raises(KeptError):
        LeafHashes.parse(content)


def test_folder_gives_the_checkpoints_of_one_log(tmp_path: Path) -> None:
    note = honest(3).keep(tmp_path / "linker-2026-10.checkpoint", after=0).read_text()
    (tmp_path / f"{3:020}").write_text(note)
    (tmp_path / "keys-2026-10.checkpoint").write_text(note.replace(ORIGIN, "kinlink.test/pseudonymizer"))
    (tmp_path / "report.html").write_text("")
    names = [Path(each.name).name for each in read([tmp_path], ORIGIN)]
    assert names == [f"{3:020}", "linker-2026-10.checkpoint"]
    assert len(read([tmp_path])) == 3
    kept = read([tmp_path / "linker-2026-10.checkpoint"])
    path = tmp_path / "linker-2026-10.checkpoint"
    assert kept == [Kept(str(path), note, companion(path).read_bytes())]


def test_kept_file_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.checkpoint").write_bytes(b"\xff")
    with pytest.raises(KeptError, match="not text"):
        read([tmp_path])


def test_export_is_read_as_often_as_asked(tmp_path: Path) -> None:
    export = honest(4).export(tmp_path / "log")
    assert list(export.records()) == list(Export(export.path).records())
