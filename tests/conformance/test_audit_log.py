"""The log over SQLite and PostgreSQL: one tree whoever writes, signed only as a continuation."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, text

from kinlink.audit import merkle, note
from kinlink.audit.entry import parse
from kinlink.audit.note import Checkpoint
from servicekit import database
from servicekit.anchors import Anchor, FileAnchor
from servicekit.audit import AuditEntry, AuditLog
from servicekit.audit.checkpointer import AnchoredPlace, Checkpointer
from servicekit.audit.checkpoints import Checkpoints, LogError, open_key
from servicekit.audit.tables import DamagedError, StoredTree
from servicekit.errors import UnavailableError

ORIGIN = "kinlink.test/linker"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = database.engine(url)
    database.migrate(made, "servicekit")
    yield made
    made.dispose()


def write(url: str, writer: int, threads: int, entries: int) -> None:
    """Append as one replica does: from several threads, some within transactions that are rolled back."""
    engine = database.engine(url)
    log = AuditLog(engine)
    start = Barrier(threads)

    def work(thread: int) -> None:
        start.wait()
        for n in range(entries):
            if n % 5 == 4:
                with engine.connect() as connection, connection.begin() as transaction:
                    log.append(AuditEntry("never", "", "ok"), connection)
                    transaction.rollback()
            log.append(AuditEntry("write", "", "ok", subject=f"{writer}/{thread}", count=n + 1))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    engine.dispose()


def append(log: AuditLog, count: int) -> None:
    for n in range(count):
        log.append(AuditEntry("write", "", "ok", count=n + 1))


def stored(log: AuditLog) -> list[tuple[bytes, bytes]]:
    return [row for page in log.stored(0, log.size(), page=7) for row in page]


def test_writers_at_once_make_one_dense_log(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in [pool.submit(write, url, writer, 3, 15) for writer in range(2)]:
            done.result()
    log = AuditLog(engine)
    rows = stored(log)
    entries = [parse(content) for content, _ in rows]
    assert [entry.index for entry in entries] == list(range(2 * 3 * 15))
    assert {entry.rpc for entry in entries} == {"write"}
    written = [entry.recorded_at for entry in entries]
    assert written == sorted(written)
    for name in {entry.subject for entry in entries}:
        assert [entry.count for entry in entries if entry.subject == name] == list(range(1, 16))
    assert [leaf for _, leaf in rows] == [merkle.leaf_hash(content) for content, _ in rows]
    rebuilt = merkle.Frontier()
    rebuilt.extend(leaf for _, leaf in rows)
    checkpoint = Checkpoint.parse(note.parse(Checkpoints(engine, log, KEY, ORIGIN).sign()).text)
    assert (checkpoint.size, checkpoint.root) == (90, rebuilt.root())


def test_every_stored_node_is_that_of_the_leaves_below_it(engine: Engine) -> None:
    log = AuditLog(engine)
    append(log, 21)
    leaves = [leaf for _, leaf in stored(log)]

    def tree(start: int, end: int) -> bytes:
        middle = (start + end) // 2
        return leaves[start] if end - start == 1 else merkle.node_hash(tree(start, middle), tree(middle, end))

    with database.read(engine) as connection:
        for level in range(5):
            for index in range(21 >> level):
                start = index << level
                assert StoredTree(connection).node(level, index) == tree(start, start + (1 << level)), (level, index)
        with pytest.raises(DamagedError):
            StoredTree(connection).node(0, 21)
        with pytest.raises(DamagedError):
            StoredTree(connection).node(3, 2)


def test_checkpoint_of_the_same_size_is_signed_and_kept_once(engine: Engine) -> None:
    log = AuditLog(engine)
    checkpoints = Checkpoints(engine, log, KEY, ORIGIN)
    empty = checkpoints.sign()
    append(log, 3)
    assert checkpoints.sign() == checkpoints.sign()
    assert list(checkpoints.kept()) == [empty, checkpoints.sign()]
    assert list(checkpoints.kept(1)) == [checkpoints.sign()]
    assert note.open_checkpoint(empty, checkpoints.verifier) == Checkpoint(ORIGIN, 0, merkle.EMPTY_ROOT)


def test_replicas_sign_one_history(engine: Engine) -> None:
    log = AuditLog(engine)
    append(log, 5)
    start = Barrier(4)

    def sign(_: int) -> str:
        start.wait()
        return Checkpoints(engine, AuditLog(engine), KEY, ORIGIN).sign()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(sign, range(4)))) == 1


def forge(engine: Engine, *statements: str) -> None:
    """Change the database as its owner can, who drops the triggers first."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET session_replication_role = replica"))  # no trigger fires
        else:
            names = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")).all()
            for name, _ in names:
                connection.execute(text(f"DROP TRIGGER {name}"))
        for statement in statements:
            connection.execute(text(statement))
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET session_replication_role = origin"))
        else:
            for _, sql in names:
                connection.execute(text(sql))


def begin_again(engine: Engine, entries: int) -> None:
    """Write a log of other entries in place of this one, checkpoints and all."""
    forge(
        engine,
        "DELETE FROM audit_entries",
        "DELETE FROM audit_checkpoints",
        "UPDATE audit_head SET size = 0, hashes = '', recorded_at = ''",
    )
    log = AuditLog(engine)
    for _ in range(entries):
        log.append(AuditEntry("another", "", "ok"))


def test_log_that_was_rolled_back_is_signed_no_more(engine: Engine) -> None:
    """As a database put back from yesterday, while the service runs."""
    failures: list[int] = []
    log = AuditLog(engine, on_failure=lambda: failures.append(1))
    checkpoints = Checkpoints(engine, log, KEY, ORIGIN)
    append(log, 6)
    checkpoints.sign()
    begin_again(engine, 4)
    with pytest.raises(UnavailableError) as caught:
        checkpoints.sign()
    assert caught.value.reason == "AUDIT_UNAVAILABLE"
    assert caught.value.metadata["cause"] == "the log has 4 entries, the last checkpoint has 6: it was rolled back"
    assert failures == [1]
    with pytest.raises(UnavailableError, match="rolled back"):
        log.append(AuditEntry("write", "", "ok"))
    assert log.size() == 4


def test_log_that_was_written_anew_is_signed_no_more(engine: Engine) -> None:
    log = AuditLog(engine)
    checkpoints = Checkpoints(engine, log, KEY, ORIGIN)
    append(log, 6)
    checkpoints.sign()
    begin_again(engine, 9)
    with pytest.raises(UnavailableError, match="first 6 entries are not those of the last checkpoint"):
        checkpoints.sign()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "UPDATE audit_entries SET hashes = (SELECT hashes FROM audit_entries WHERE entry_index = 0)",
            "without its hashes",
        ),
        ("DELETE FROM audit_entries WHERE entry_index = 3", "entry 3 is not in the log"),
        ("UPDATE audit_head SET hashes = (SELECT hashes FROM audit_entries WHERE entry_index = 1)", "head"),
        ("UPDATE audit_head SET hashes = ''", "head"),
        ("UPDATE audit_head SET size = 5", "head"),
        ("UPDATE audit_checkpoints SET note = replace(note, 'linker', 'linken')", "another key"),
    ],
)
def test_changed_database_stops_the_start(engine: Engine, change: str, said: str) -> None:
    log = AuditLog(engine)
    append(log, 6)
    Checkpoints(engine, log, KEY, ORIGIN).sign()
    Checkpoints(engine, log, KEY, ORIGIN).check()
    forge(engine, change)
    with pytest.raises(LogError, match=said):
        Checkpoints(engine, log, KEY, ORIGIN).check()


def test_log_signed_by_another_key_stops_the_start(engine: Engine) -> None:
    log = AuditLog(engine)
    append(log, 2)
    Checkpoints(engine, log, KEY, ORIGIN).sign()
    with pytest.raises(LogError, match="another key than log_key"):
        Checkpoints(engine, log, Ed25519PrivateKey.generate(), ORIGIN).check()


def anchored(engine: Engine, anchor: Anchor) -> tuple[AuditLog, Checkpoints]:
    log = AuditLog(engine)
    return log, Checkpoints(engine, log, KEY, ORIGIN, [anchor])


@pytest.mark.parametrize(("entries", "said"), [(4, "rolled back"), (9, "first 6 entries")])
def test_anchor_knows_a_database_that_was_put_back_or_written_anew(
    engine: Engine, tmp_path: Path, entries: int, said: str
) -> None:
    """The database holds nothing that tells: checkpoints and all were replaced while the service was down."""
    anchor = FileAnchor("file:anchor", tmp_path / "anchor")
    log, checkpoints = anchored(engine, anchor)
    append(log, 6)
    anchor.write("linker/checkpoint/" + "6".zfill(20), checkpoints.sign().encode())
    begin_again(engine, entries)
    _, after = anchored(engine, anchor)
    with pytest.raises(LogError, match=said):
        after.check()
    with pytest.raises(UnavailableError, match=said):
        after.sign()
    Checkpoints(engine, AuditLog(engine), KEY, ORIGIN).check()  # without the anchor, nothing shows


def test_old_checkpoint_under_a_greater_name_does_not_hide_the_newest(engine: Engine, tmp_path: Path) -> None:
    """Who may write to the anchor, and not delete, has an old checkpoint, which the log's key signed."""
    anchor = FileAnchor("file:anchor", tmp_path / "anchor")
    log, checkpoints = anchored(engine, anchor)
    old = checkpoints.sign()  # of no entries: every log continues it
    append(log, 6)
    anchor.write(f"linker/checkpoint/{6:020}", checkpoints.sign().encode())
    anchor.write("linker/checkpoint/" + "9" * 20, old.encode())
    begin_again(engine, 4)
    with pytest.raises(LogError, match="holds another checkpoint than its name says"):
        anchored(engine, anchor)[1].check()


def test_key_is_made_once_and_asked_for_when_the_log_was_signed(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    made = open_key(path, may_create=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert open_key(path, may_create=True).private_bytes_raw() == made.private_bytes_raw()
    path.unlink()
    with pytest.raises(LogError, match="put its key back"):
        open_key(path, may_create=False)
    path.write_text("no key")
    path.chmod(0o600)
    with pytest.raises(LogError, match="Ed25519 key in PEM"):
        open_key(path, may_create=True)
    assert [file.name for file in tmp_path.iterdir()] == ["log.key"]


def test_replicas_that_start_together_make_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced, second = tmp_path / "log.key", os.fsync, []

    def overtaken(descriptor: int) -> None:
        """Let another replica make a key while this one's is written and has no name yet."""
        synced(descriptor)
        monkeypatch.undo()
        second.append(open_key(path, may_create=True))

    monkeypatch.setattr(os, "fsync", overtaken)
    first = open_key(path, may_create=True)
    kept = open_key(path, may_create=False)
    assert {key.private_bytes_raw() for key in (first, *second)} == {kept.private_bytes_raw()}
    assert [file.name for file in tmp_path.iterdir()] == ["log.key"]


def test_key_that_everybody_reads_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    open_key(path, may_create=True)
    path.chmod(0o440)  # as a Secret is mounted for the service's group
    open_key(path, may_create=False)
    path.chmod(0o444)
    with pytest.raises(LogError, match="chmod 600"):
        open_key(path, may_create=False)


class SlowPlace:
    """A second place that takes its first checkpoint only when the service is being stopped."""

    uri = "slow"

    def __init__(self, log: AuditLog) -> None:
        self.log, self.begun, self.stopping, self.sizes = log, Event(), Event(), list[int]()

    def send(self, signed: str) -> None:
        if not self.sizes:
            self.log.append(AuditEntry("late", "", "ok"))
            self.begun.set()
            assert self.stopping.wait(30)
        self.sizes.append(Checkpoint.parse(note.parse(signed).text).size)


def test_what_came_while_the_last_round_was_under_way_is_sent_too(tmp_path: Path) -> None:
    engine = database.engine(f"sqlite:///{tmp_path / 'state.db'}")
    database.migrate(engine, "servicekit")
    log = AuditLog(engine)
    append(log, 3)
    place = SlowPlace(log)

    class Told(Checkpointer):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "_stopped" and value:
                place.stopping.set()

    checkpointer = Told(log, Checkpoints(engine, log, KEY, ORIGIN), [place], 10_000, 3600.0)
    checkpointer.start()
    assert place.begun.wait(30)
    checkpointer.stop()
    assert place.sizes == [3, 4]
    engine.dispose()


def test_damaged_head_takes_no_entry(engine: Engine) -> None:
    log = AuditLog(engine)
    append(log, 6)
    forge(engine, "UPDATE audit_head SET hashes = ''")
    with pytest.raises(UnavailableError, match="head is not that of its entries"):
        log.append(AuditEntry("write", "", "ok"))
    assert log.size() == 6


def test_log_that_became_shorter_takes_no_entry_of_who_saw_it_longer(engine: Engine) -> None:
    log = AuditLog(engine)
    append(log, 6)
    begin_again(engine, 4)
    with pytest.raises(UnavailableError, match="the log has 4 entries and had 6: an older database was put back"):
        append(log, 1)
    assert "older" in log.failing
    assert AuditLog(engine).size() == 4


def test_checkpoint_that_somebody_was_shown_is_anchored_as_it_is(engine: Engine, tmp_path: Path) -> None:
    """Entries come at once after it, that of the call which showed it among them; an export ends where it does."""
    anchor = FileAnchor("file:anchor", tmp_path / "anchor")
    log, checkpoints = anchored(engine, anchor)
    append(log, 3)
    signed = checkpoints.sign()
    checkpointer = Checkpointer(log, checkpoints, [AnchoredPlace(anchor)], every_entries=1000, every_s=3600)
    append(log, 2)
    checkpointer.shown(signed)
    checkpointer.start()
    name, content = _first(anchor)
    checkpointer.stop()
    assert (name, content.decode()) == (f"linker/checkpoint/{3:020}", signed)


def _first(anchor: FileAnchor) -> tuple[str, bytes]:
    while (found := anchor.newest("linker/checkpoint/")) is None:
        pass
    return found
