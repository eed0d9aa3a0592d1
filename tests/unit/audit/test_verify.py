"""What `verify` finds: each way to tamper with a log, against each thing that a DPO may have kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kinlink.audit.export import Export, ExportError
from kinlink.audit.findings import FindingKind as K
from kinlink.audit.findings import Verification
from kinlink.audit.kept import companion, read
from kinlink.audit.verify import verify
from tests.unit.audit.logs import KEY, LOG_KEY, OTHER_KEY, Log, entry, honest, numbered

N = 40
AT = 17
FORGED = entry(AT, count=9)


def edited(log: Log) -> Log:
    """Edit an entry in the database, and nothing else."""
    return Log([*log.contents[:AT], FORGED, *log.contents[AT + 1 :]], log.hashes, signed_at=(N,))


def renumbered(contents: list[bytes]) -> Log:
    """Rebuild the whole log from these entries, and sign it again."""
    return Log([numbered(content, index) for index, content in enumerate(contents)])


def rebuilt_changed(log: Log) -> Log:
    return Log([*log.contents[:AT], FORGED, *log.contents[AT + 1 :]])


def rebuilt_removed(log: Log) -> Log:
    return renumbered([*log.contents[:AT], *log.contents[AT + 1 :], entry(N)])


def rebuilt_inserted(log: Log) -> Log:
    return renumbered([*log.contents[:AT], FORGED, *log.contents[AT:]])


def rebuilt_reordered(log: Log) -> Log:
    contents = list(log.contents)
    contents[AT], contents[AT + 6] = contents[AT + 6], contents[AT]
    return renumbered(contents)


def removed(log: Log) -> Log:
    """Delete a row; the others keep their indices."""
    return Log([*log.contents[:AT], *log.contents[AT + 1 :]])


def inserted(log: Log) -> Log:
    return Log([*log.contents[:AT], FORGED, *log.contents[AT:]])


def reordered(log: Log) -> Log:
    contents = list(log.contents)
    contents[AT], contents[AT + 6] = contents[AT + 6], contents[AT]
    return Log(contents)


def truncated(log: Log) -> Log:
    return Log(log.contents[:30])


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    folder.mkdir()
    return folder


def found(verification: Verification) -> set[tuple[K, int | None, int | None]]:
    return {(f.kind, f.first, f.end) for f in verification.findings}


NAMED = {(K.ENTRY_CHANGED, AT, AT + 1)}
MOVED = {(K.ENTRY_MOVED, AT, AT + 1), (K.ENTRY_MOVED, AT + 6, AT + 7)}
REBUILT = (K.LOG_REBUILT, 16, N)
# Tampering → what is found with plain checkpoints of 16 and 40 entries; with their leaf hashes as well.
TAMPERING: dict[Callable[[Log], Log], tuple[set[tuple[K, int, int]], set[tuple[K, int, int]]]] = {
    edited: (NAMED, NAMED),
    rebuilt_changed: ({REBUILT}, {REBUILT, *NAMED}),
    rebuilt_removed: ({REBUILT}, {REBUILT, (K.ENTRY_REMOVED, AT, AT + 1)}),
    rebuilt_inserted: ({REBUILT}, {REBUILT, (K.ENTRY_INSERTED, AT, AT + 1)}),
    rebuilt_reordered: ({REBUILT}, {REBUILT, *MOVED}),
    removed: (
        {(K.ENTRY_REMOVED, AT, AT + 1), (K.CHECKPOINT_FAILS, 16, N)},
        {(K.ENTRY_REMOVED, AT, AT + 1), (K.CHECKPOINT_FAILS, 16, N)},
    ),
    inserted: ({(K.ENTRY_INSERTED, AT + 1, AT + 2), REBUILT}, {(K.ENTRY_INSERTED, AT, AT + 1), REBUILT}),
    reordered: ({*MOVED, REBUILT}, {*MOVED, REBUILT}),
    truncated: ({(K.LOG_TRUNCATED, 30, N)}, {(K.LOG_TRUNCATED, 30, N)}),
}


@pytest.mark.parametrize("with_hashes", [False, True], ids=["checkpoints", "with hashes"])
@pytest.mark.parametrize("tamper", TAMPERING, ids=lambda tamper: tamper.__name__)
def test_tampering_is_named(tmp_path: Path, kept: Path, tamper: Callable[[Log], Log], with_hashes: bool) -> None:
    log = honest(N)
    log.keep(kept / "1.checkpoint", 16, after=0 if with_hashes else None)
    log.keep(kept / "2.checkpoint", N, after=16 if with_hashes else None)
    control = verify(log.export(tmp_path / "honest"), read([kept]), LOG_KEY)
    assert (control.ok, control.proven_size, len(control.held)) == (True, N, 2)
    result = verify(tamper(log).export(tmp_path / "tampered"), read([kept]), LOG_KEY)
    assert found(result) == TAMPERING[tamper][with_hashes]
    assert all(f.text for f in result.findings)


@pytest.mark.parametrize("tamper", [rebuilt_changed, rebuilt_removed, rebuilt_inserted, rebuilt_reordered])
def test_tampering_is_named_by_an_earlier_export(tmp_path: Path, kept: Path, tamper: Callable[[Log], Log]) -> None:
    log = honest(N)
    log.keep(kept / "1.checkpoint", 16)
    earlier = log.export(tmp_path / "earlier")
    result = verify(tamper(log).export(tmp_path / "now"), read([kept]), LOG_KEY, earlier)
    exact = TAMPERING[tamper][True] - {REBUILT}
    assert found(result) == {*exact, (K.FORK, 0, N)}


def test_growth_is_no_finding(tmp_path: Path, kept: Path) -> None:
    log = honest(N)
    earlier = log.export(tmp_path / "earlier")
    log.keep(kept / "1.checkpoint", N, after=0)
    result = verify(honest(N + 25).export(tmp_path / "now"), read([kept]), LOG_KEY, earlier)
    assert (result.ok, result.proven_size, result.signed_size, result.end) == (True, N, N + 25, N + 25)


def test_log_is_shorter_than_the_earlier_export(tmp_path: Path, kept: Path) -> None:
    log = honest(N)
    log.keep(kept / "1.checkpoint", 16)
    earlier = log.export(tmp_path / "earlier")
    result = verify(truncated(log).export(tmp_path / "now"), read([kept]), LOG_KEY, earlier)
    assert found(result) == {(K.LOG_TRUNCATED, 30, N)}


def test_last_entries_are_replaced_behind_the_kept_checkpoint(tmp_path: Path, kept: Path) -> None:
    log = honest(N)
    log.keep(kept / "1.checkpoint", N, after=0)
    other = Log([*log.contents[:30], *(entry(index, count=5) for index in range(30, N + 5))])
    result = verify(other.export(tmp_path / "now"), read([kept]), LOG_KEY)
    assert found(result) == {(K.ENTRY_CHANGED, 30, N), (K.LOG_REBUILT, 0, N)}


def test_service_signs_with_another_key(tmp_path: Path, kept: Path) -> None:
    log = honest(N)
    log.keep(kept / "1.checkpoint", N)
    result = verify(Log(log.contents, key=OTHER_KEY).export(tmp_path / "now"), read([kept]), LOG_KEY)
    assert found(result) == {(K.FOREIGN_KEY, None, None)}


def test_service_shows_another_key(tmp_path: Path, kept: Path) -> None:
    """In an export of a part without any checkpoint of the service's own."""
    log = honest(N)
    log.keep(kept / "1.checkpoint", 16)
    other = Log(log.contents, key=OTHER_KEY, signed_at=(N,))
    result = verify(other.export(tmp_path / "now", end=20), read([kept]), LOG_KEY)
    assert found(result) == {(K.FOREIGN_KEY, None, None)}


def test_kept_checkpoint_is_another_keys(tmp_path: Path, kept: Path) -> None:
    Log(honest(N).contents, key=OTHER_KEY).keep(kept / "1.checkpoint", N)
    result = verify(honest(N).export(tmp_path / "now"), read([kept]), LOG_KEY)
    assert found(result) == {(K.FOREIGN_KEY, None, None)}
    assert "1.checkpoint" in result.findings[0].text


@pytest.mark.parametrize("change", [("40\n", "41\n"), ("linker", "Linker")])
def test_kept_checkpoint_was_edited(tmp_path: Path, kept: Path, change: tuple[str, str]) -> None:
    path = honest(N).keep(kept / "1.checkpoint", N)
    path.write_text(path.read_text().replace(*change))
    result = verify(honest(N).export(tmp_path / "now"), read([kept]), LOG_KEY)
    assert {f.kind for f in result.findings} <= {K.CHECKPOINT_CHANGED, K.FOREIGN_KEY}
    assert not result.ok


def test_kept_hashes_were_edited(tmp_path: Path, kept: Path) -> None:
    beside = companion(honest(N).keep(kept / "1.checkpoint", N, after=0))
    content = bytearray(beside.read_bytes())
    content[-1] ^= 1
    beside.write_bytes(content)
    result = verify(honest(N).export(tmp_path / "now"), read([kept]), LOG_KEY)
    assert found(result) == {(K.EVIDENCE_DAMAGED, None, None)}
    beside.write_bytes(b"x")
    assert found(verify(honest(N).export(tmp_path / "now"), read([kept]), LOG_KEY)) == {
        (K.EVIDENCE_DAMAGED, None, None)
    }


def test_key_signed_two_logs_of_one_size(tmp_path: Path, kept: Path) -> None:
    honest(N).keep(kept / "1.checkpoint", N)
    rebuilt_changed(honest(N)).keep(kept / "2.checkpoint", N)
    result = verify(honest(N).export(tmp_path / "now"), read([kept]), LOG_KEY)
    assert (K.FORK, 0, N) in found(result)


def test_earlier_export_was_edited(tmp_path: Path, kept: Path) -> None:
    log = honest(N)
    log.keep(kept / "1.checkpoint", N)
    result = verify(log.export(tmp_path / "now"), read([kept]), LOG_KEY, edited(log).export(tmp_path / "earlier"))
    assert (K.EVIDENCE_DAMAGED, None, None) in found(result)
    shorter = Log(log.contents, signed_at=(20,))
    shorter.hashes[30] = bytes(32)
    other = verify(log.export(tmp_path / "now"), read([kept]), LOG_KEY, shorter.export(tmp_path / "earlier"))
    assert not other.ok


def test_unsigned_end_of_an_earlier_export_is_no_evidence(tmp_path: Path, kept: Path) -> None:
    """Whoever holds the file could have written it."""
    log = honest(N)
    log.keep(kept / "1.checkpoint", 16)
    invented = Log([*log.contents[:24], *(entry(index, count=8) for index in range(24, N))], signed_at=(20,))
    earlier = invented.export(tmp_path / "earlier")
    assert verify(log.export(tmp_path / "now"), read([kept]), LOG_KEY, earlier).ok


def test_database_was_edited_and_nothing_signed_again(tmp_path: Path, kept: Path) -> None:
    """The service's own checkpoints, kept more often than the DPO's, make the range narrow."""
    log = honest(N)
    log.keep(kept / "1.checkpoint", N)
    forged = rebuilt_changed(log)
    path = tmp_path / "now"
    forged.signed_at = (12, 16, 24, N)
    honest_notes = {size: log.note(size) for size in forged.signed_at}
    forged.note = lambda size=None: honest_notes[size]  # type: ignore[method-assign, assignment]
    result = verify(forged.export(path), read([kept]), LOG_KEY)
    assert found(result) == {(K.CHECKPOINT_FAILS, 0, N), (K.CHECKPOINT_FAILS, 16, 24)}


def test_export_from_the_middle(tmp_path: Path, kept: Path) -> None:
    log = honest(N)
    log.keep(kept / "1.checkpoint", 16)
    log.keep(kept / "2.checkpoint", N)
    result = verify(log.export(tmp_path / "now", start=16), read([kept]), LOG_KEY)
    assert (result.ok, result.start, len(result.held)) == (True, 16, 2)
    other = rebuilt_changed(log).export(tmp_path / "other", start=25)
    assert found(verify(other, read([kept]), LOG_KEY)) == {(K.LOG_REBUILT, 25, N)}


def test_checkpoint_where_the_export_begins_proves_none_of_it(tmp_path: Path, kept: Path) -> None:
    log = honest(N)
    log.keep(kept / "1.checkpoint", 16)
    result = verify(log.export(tmp_path / "now", start=16), read([kept]), LOG_KEY)
    assert found(result) == {(K.UNPROVEN, 16, N)}


def test_nothing_kept_proves_nothing(tmp_path: Path) -> None:
    result = verify(honest(N).export(tmp_path / "now"), [], LOG_KEY)
    assert found(result) == {(K.UNPROVEN, 0, N)}


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda lines: lines[:-1], "breaks off"),
        (lambda lines: [*lines[:9], *lines[10:]], "line 42"),
        (lambda lines: [*lines[:9], lines[9].replace(b'","entry"', b'", "entry"'), *lines[10:]], "line 10"),
        (lambda lines: [*lines[:9], lines[9].replace(b'hash":"', b'hash":"z'), *lines[10:]], "line 10"),
        (lambda lines: [*lines, b"x\n"], "line 43"),
    ],
    ids=["end", "line", "space", "hash", "more"],
)
def test_file_is_not_as_written(
    tmp_path: Path, kept: Path, damage: Callable[[list[bytes]], list[bytes]], text: str
) -> None:
    honest(N).keep(kept / "1.checkpoint", 5)
    path = honest(N).export(tmp_path / "now").path
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))
    result = verify(Export(path), read([kept]), LOG_KEY)
    (damaged,) = [f for f in result.findings if f.kind is K.EXPORT_DAMAGED]
    assert text in damaged.text


HEADER = '{"form":"kinlink-audit-export-v1","frontier":[%s],"origin":"a","start":%s,"verifier_key":"b"}\n'
NO_HEADERS = [
    b"",
    b"{}\n",
    b"[1]\n",
    b"null\n",
    b'{"form":"kinlink-audit-export-v1"}\n',
    (HEADER % ("", 1)).encode(),
    (HEADER % ('"00"', 1)).encode(),
    (HEADER % ("", -1)).encode(),
    (HEADER % ("", '"0"')).encode(),
    (HEADER % ("", 0)).replace("v1", "v2").encode(),
]


@pytest.mark.parametrize("content", NO_HEADERS)
def test_file_is_no_export(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "now").write_bytes(content)
    with pytest.raises(ExportError, match="first line"):
        Export(tmp_path / "now")


def test_many_changes_end_in_a_range(tmp_path: Path, kept: Path) -> None:
    size = 1000
    honest(size).keep(kept / "1.checkpoint", size, after=0)
    forged = Log([entry(i, count=7 if i % 2 else 0) for i in range(size)])
    result = verify(forged.export(tmp_path / "now"), read([kept]), LOG_KEY)
    assert (K.ENTRY_CHANGED, 201, size) in found(result)
    assert len(result.findings) == 102


@pytest.mark.parametrize("left", [3, 300, 600])
@pytest.mark.parametrize("rebuild", [True, False], ids=["rebuilt", "deleted"])
def test_long_run_is_removed(tmp_path: Path, kept: Path, left: int, rebuild: bool) -> None:
    """Longer than what is looked at ahead, and with fewer entries behind it than that."""
    size, removed = 1000, 1000 - left - 7
    contents = [entry(i) for i in range(size)]
    honest(size).keep(kept / "1.checkpoint", size, after=0)
    rest = [*contents[:7], *contents[7 + removed :]]
    forged = renumbered(rest) if rebuild else Log(rest)
    result = verify(forged.export(tmp_path / "now"), read([kept]), LOG_KEY)
    assert found(result) - {(K.CHECKPOINT_FAILS, 0, size)} == {(K.ENTRY_REMOVED, 7, 7 + removed)}


def test_rebuilt_log_does_not_hide_behind_its_key(tmp_path: Path, kept: Path) -> None:
    """A log that shares nothing with the kept one."""
    honest(N).keep(kept / "1.checkpoint", N, after=0)
    forged = Log([entry(i, count=3) for i in range(N)], key=KEY)
    result = verify(forged.export(tmp_path / "now"), read([kept]), LOG_KEY)
    assert found(result) == {(K.ENTRY_CHANGED, 0, N), (K.LOG_REBUILT, 0, N)}
