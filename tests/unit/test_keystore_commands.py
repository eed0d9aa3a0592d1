"""`kinlink keystore`: wrapping anew, backups, and the ceremony that restores one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text
from structlog.testing import capture_logs

from kinlink import genesis as genesis_form
from kinlink.approvals import Verb
from kinlink.audit.align import Item
from kinlink.audit.decisions import Decisions
from kinlink.audit.entry import encode
from kinlink.audit.export import Leaf
from kinlink.change_document import ChangeError
from kinlink.pseudonyms import Kind, Suite
from kinlink.signed_change import Signature, SignedChange
from pseudonymizer.keyset import KeyName
from pseudonymizer.keystore import tables, wrappings
from pseudonymizer.keystore.encryption_keys import KeyStoreError, warn_of_a_key_in_a_file, wrapping_version
from pseudonymizer.lifecycle import Transition
from pseudonymizer.people import People
from servicekit.audit import AuditLog
from servicekit.database import read
from servicekit.errors import UnavailableError
from tests import postgres
from tests.unit.keystore_place import CPR, LINKAGE, Place, rotate, take

_FIRST = KeyName(*CPR, 1)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


def _scalars(place: Place) -> dict[KeyName, bytes]:
    store = place.start()
    return {name: key.scalar for name, key in store.current()[1]._keys.items()}


def _wrapped_under(place: Place) -> set[str]:
    with read(place.engine()) as connection:
        rows = connection.execute(select(tables.keys.c.wrapped_key)).scalars().all()
        heads = connection.execute(select(tables.head.c.wrapped_key)).scalars().all()
    return {wrapping_version(bytes(wrapped)) for wrapped in (*rows, *heads) if wrapped}


class TestRewrap:
    def test_moves_everything_to_another_key_and_replicas_follow(
        self, place: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place.start()
        before, (old,) = _scalars(place), _wrapped_under(place)
        (place.folder / "new").write_bytes((place.folder / "kek").read_bytes()[::-1].strip()[1:] + b"=\n")
        (place.folder / "new").chmod(0o600)
        place.set(kek="file:new", kek_previous="file:kek")
        replica = place.start()
        generation = replica.current()[1].generation
        assert place.run("rewrap") == 0
        assert "take kek_previous out" in capsys.readouterr().out
        (new,) = _wrapped_under(place)
        assert new != old
        assert replica.current()[1].generation == generation + 1
        assert replica.refused == ""
        assert old.encode() + b"\n" not in b"".join(path.read_bytes() for path in place.folder.glob("state.db*"))
        (place.folder / "kek").unlink()
        place.set(kek_previous=None)
        assert _scalars(place) == before
        entry = next(one for one in place.log() if one["rpc"] == "kek.rewrap")
        assert (entry["count"], json.loads(entry["evidence"])) == (3, {"from": [old], "to": new})
        assert place.run("rewrap") == 0
        assert "nothing to do" in capsys.readouterr().out

    def test_to_another_uri_stops_replicas_that_do_not_have_it_and_says_what_to_set(
        self, place: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        replica = place.start()
        Place.start(place)
        (place.folder / "other").mkdir()
        other = Place(place.folder / "other")
        other.start()
        other.close()
        assert place.run("rewrap", "--to", "file:other/kek") == 0
        assert 'set kek = "file:other/kek"' in capsys.readouterr().out
        with pytest.raises(UnavailableError):
            replica.current()
        assert "sealed under another key-encryption key" in replica.refused
        with pytest.raises(KeyStoreError, match="kek_previous"):
            place.start()
        place.set(kek="file:other/kek")
        place.start()

    def test_changes_nothing_when_one_key_does_not_open(self, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
        place.start()
        with place.engine().begin() as connection:
            connection.execute(
                text("UPDATE pseudonymisation_keys SET sealed = zeroblob(60) WHERE kind = 'replacement'")
            )
        (place.folder / "other").mkdir()
        other = Place(place.folder / "other")
        other.start()
        other.close()
        before = _wrapped_under(place)
        assert place.run("rewrap", "--to", "file:other/kek") == 5
        assert "was changed" in capsys.readouterr().err
        assert _wrapped_under(place) == before
        assert not [one for one in place.log() if one["rpc"] == "kek.rewrap"]


class TestBackups:
    def test_a_backup_holds_no_key_and_is_written_once(self, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
        place.begin()
        scalars = _scalars(place)
        file = place.folder / "backup.json"
        assert place.run("backup", file) == 0
        assert file.stat().st_mode & 0o777 == 0o600
        content = file.read_bytes()
        assert all(scalar.hex().encode() not in content and scalar not in content for scalar in scalars.values())
        assert place.run("backup", file) == 3
        assert "exists, and is not overwritten" in capsys.readouterr().err
        assert [one["rpc"] for one in place.log()].count("keystore.backup") == 1

    def test_status_says_until_when_a_destroyed_key_can_be_unsealed(
        self, place: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        store = place.begin()
        (old,) = _wrapped_under(place)
        rotate(store)
        take(store, Transition.DESTROY, _FIRST)
        assert place.run("note-destroyed", old) == 4
        assert "keys stand under that version" in capsys.readouterr().err
        assert place.run("status") == 0
        said = capsys.readouterr().out
        since = store.current()[0][-2].state_since
        assert "source/prisme cpr version 1: destroyed; a backup can unseal it until" in said
        assert f"{since:%Y-%m-%d}" not in said.partition("until ")[2]
        (place.folder / "other").mkdir()
        other = Place(place.folder / "other")
        other.start()
        other.close()
        assert place.run("rewrap", "--to", "file:other/kek") == 0
        place.set(kek="file:other/kek")
        assert place.run("note-destroyed", old) == 0
        assert place.run("note-destroyed", "no such") == 4
        with read(place.engine()) as connection:
            (first, second) = wrappings.every(connection)
        assert first.destroyed_at is not None
        assert second.destroyed_at is None
        capsys.readouterr()
        assert place.run("status") == 0
        assert f"can unseal it until {first.destroyed_at:%Y-%m-%d}" in capsys.readouterr().out
        assert [one["subject"] for one in place.log() if one["rpc"] == "kek.destroyed"] == [old]


def _document(place: Place, *arguments: object, name: str = "change.json") -> Path:
    file = place.folder / name
    asked = ("--proposer", "custodian/a", "--reason", "disk of the database was lost", *arguments, file)
    assert place.run("restore-document", *asked) == 0
    return file


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Version 1, a backup, version 2 of cpr, version 1 destroyed, linkage compromised, a person enrolled."""
    place = Place(tmp_path_factory.mktemp("past"))
    store = place.begin()
    assert place.run("backup", place.folder / "backup.json") == 0
    place.keep("kept")
    rotate(store)
    take(store, Transition.DESTROY, _FIRST)
    take(store, Transition.COMPROMISE, KeyName(*LINKAGE, 1))
    place.enrol(store, "custodian/c", "6f9f1d4e-0000-4000-8000-000000000001")
    return place


class TestRestore:
    @pytest.fixture
    def place(self, past: Place, tmp_path: Path) -> Iterator[Place]:
        place = past.copy(tmp_path)
        yield place
        place.close()

    @pytest.fixture
    def kept(self, place: Place) -> Path:
        return place.folder / "kept.db"

    def test_replays_what_happened_since_and_goes_on_above_the_anchored_generation(
        self, place: Place, kept: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        newest = place.start().current()[1].generation
        place.put_back(kept)
        place.export_log(place.folder / "unused.jsonl")
        with pytest.raises(KeyStoreError, match="older key store"):
            place.start()
        file = _document(place)
        place.sign(file, "custodian/a", "custodian/c", "reviewer/r")
        capsys.readouterr()
        assert place.run("restore", "--change", file) == 0
        said = capsys.readouterr().out
        assert f"goes on at generation {newest + 1}" in said
        assert "source/prisme cpr version 2: LOST" in said
        assert "source/prisme cpr version 1: destroyed" in said
        assert place.states() == {
            ("linkage/familie", "cpr", 1): "compromised",
            ("source/prisme", "cpr", 1): "destroyed",
            ("source/prisme", "cpr", 2): "destroyed",
            ("source/prisme", "replacement", 1): "active",
        }
        store = place.start()
        assert store.current()[1].generation == newest + 1
        assert store.current()[1].usable(_FIRST) is None
        made = rotate(store)
        assert made.version == 3, "a number is never used again"
        logged = [(one["rpc"], one["subject"]) for one in place.log()]
        assert ("key.lost", "source/prisme") in logged
        assert ("key.replay-destroyed", "source/prisme") in logged
        assert ("key.replay-compromised", "linkage/familie") in logged
        entry = next(one for one in place.log() if one["rpc"] == "keystore.restore")
        proof = json.loads(entry["evidence"])
        assert proof["document"]["store"]["anchored_generation"] == newest
        assert {one["signer"] for one in proof["signatures"]} == {"custodian/a", "custodian/c", "reviewer/r"}

    @pytest.mark.parametrize("signers", [3, 2], ids=["signed", "one signature taken out"])
    def test_log_shows_whether_it_was_signed(self, place: Place, kept: Path, signers: int) -> None:
        """With the lost entries brought back; what the fixture did to keys before had no signatures."""
        place.anchor_log()
        place.export_log(place.folder / "log.jsonl")
        place.put_back(kept)
        file = _document(place)
        place.sign(file, "custodian/a", "custodian/b", "reviewer/r")
        assert place.run("restore", "--change", file, "--log", place.folder / "log.jsonl") == 0
        contents = [content for page in AuditLog(place.engine()).stored(0, 1000) for content, _ in page]
        at = next(number for number, content in enumerate(contents) if b'"rpc":"keystore.restore"' in content)
        entry = json.loads(contents[at])
        proof = json.loads(entry["evidence"])
        entry["evidence"] = encode({**proof, "signatures": proof["signatures"][:signers]}).decode()
        contents[at] = encode(entry)
        decisions = Decisions("kinlink.test/pseudonymizer", genesis_form.parse(place.settings.genesis.read_bytes()))
        items = (Item(number, Leaf(b"", content), b"") for number, content in enumerate(contents))
        assert len(list(decisions.watch(items))) == len(contents)
        found = [one for one in decisions.findings if one.first is None or one.first >= at]
        assert [one.first for one in found] == ([] if signers == 3 else [at])
        assert signers == 3 or "1 more approval, by a reviewer" in found[0].text

    def test_from_a_file_into_an_empty_database(self, place: Place, kept: Path) -> None:
        newest = place.start().current()[1].generation
        scalar = place.start().current()[1].for_evaluation(KeyName("source/prisme", Kind.REPLACEMENT, 0)).scalar
        place.close()
        place._engine = None
        for file in place.folder.glob("state.db*"):
            file.unlink()
        backup = place.folder / "backup.json"
        file = _document(place, "--backup", backup)
        place.sign(file, "custodian/a", "custodian/b", "reviewer/r")
        assert place.run("restore", "--change", file, "--backup", backup) == 0
        store = place.start()
        assert store.current()[1].generation == newest + 1
        assert store.current()[1].for_evaluation(KeyName("source/prisme", Kind.REPLACEMENT, 0)).scalar == scalar

    @pytest.mark.parametrize(
        ("signers", "said"),
        [
            ((), "the signature of its proposer"),
            (("custodian/a",), "2 more approvals"),
            (("custodian/a", "reviewer/r"), "1 more approval"),
            (("custodian/a", "custodian/a", "reviewer/r"), "1 more approval"),
            (("custodian/a", "custodian/b", "custodian/c"), "an approval by a reviewer"),
            (("custodian/b", "custodian/a", "reviewer/r"), "the signature of its proposer"),
        ],
    )
    def test_needs_the_signatures_that_every_change_needs(
        self, place: Place, kept: Path, capsys: pytest.CaptureFixture[str], signers: tuple[str, ...], said: str
    ) -> None:
        place.put_back(kept)
        file = _document(place)
        if signers:
            place.sign(file, *signers)
        before = place.states()
        assert place.run("restore", "--change", file) == 4
        assert said in capsys.readouterr().err
        assert place.states() == before

    def test_a_person_removed_since_does_not_count_and_one_enrolled_since_does(
        self, place: Place, kept: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place.remove(place.start(), "custodian/b")
        place.put_back(kept)
        file = _document(place)
        place.sign(file, "custodian/a", "custodian/b", "reviewer/r")
        assert place.run("restore", "--change", file) == 4
        assert "1 more approval" in capsys.readouterr().err
        other = _document(place, name="other.json")
        place.sign(other, "custodian/a", "custodian/c", "reviewer/r")
        assert place.run("restore", "--change", other) == 0

    def test_signatures_that_do_not_hold_stand_neither_in_the_log_nor_in_the_store(
        self, place: Place, kept: Path
    ) -> None:
        place.put_back(kept)
        file = _document(place)
        place.sign(file, "custodian/a", "custodian/c", "reviewer/r")
        signed = SignedChange.parse(file.read_bytes())
        for name in ("reviewer/r", "custodian/b", "somebody who never was"):
            signed = signed.signed(Signature(Verb.APPROVE, name, bytes(64)))
        file.write_bytes(signed.to_bytes())
        assert place.run("restore", "--change", file) == 0
        entry = next(one for one in place.log() if one["rpc"] == "keystore.restore")
        logged = json.loads(entry["evidence"])["signatures"]
        assert [one["signer"] for one in logged] == ["custodian/a", "custodian/c", "reviewer/r"]
        assert bytes(64).hex() not in entry["evidence"]
        with read(place.engine()) as connection:
            rows = connection.exec_driver_sql("SELECT signer, signature FROM approvals ORDER BY signer").all()
        assert [row.signer for row in rows] == ["custodian/c", "reviewer/r"]
        assert bytes(64) not in [row.signature for row in rows]

    def test_what_a_trigger_writes_meanwhile_is_not_sealed(
        self, place: Place, kept: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place.put_back(kept)
        file = _document(place)
        place.sign(file, "custodian/a", "custodian/c", "reviewer/r")
        row = f"x'{'ab' * 32}', 'custodian/x', 'custodian', '', '2026-01-01T00:00:00+00:00', NULL"
        with place.engine().begin() as connection:
            act = f"AFTER INSERT ON changes BEGIN INSERT INTO signers VALUES ({row}); END"
            connection.execute(text(f"CREATE TRIGGER helper {act}"))
        assert place.run("restore", "--change", file) == 4
        assert "something else than this restore" in capsys.readouterr().err
        with place.engine().begin() as connection:
            connection.execute(text("DROP TRIGGER helper"))
        assert place.run("restore", "--change", file) == 0

    def test_a_change_is_used_once_and_for_one_generation_only(
        self, place: Place, kept: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place.put_back(kept)
        file = _document(place)
        place.sign(file, "custodian/a", "custodian/b", "reviewer/r")
        assert place.run("restore", "--change", file) == 0
        assert place.run("restore", "--change", file) == 4
        place.put_back(kept)
        capsys.readouterr()
        assert place.run("restore", "--change", file) == 4
        assert "the change is not for this" in capsys.readouterr().err

    def test_a_change_that_took_effect_in_the_lost_time_cannot_be_used_again(self, place: Place, kept: Path) -> None:
        used = "6f9f1d4e-0000-4000-8000-000000000002"
        store, at = place.start(), datetime(2026, 1, 1, tzinfo=UTC)
        with store.change() as connection:
            people = People.parse(store.people(connection)).with_applied(used, at)
            store.people_become(connection, people.content)
            connection.execute(
                text(
                    "INSERT INTO changes (change_id, document, signature, proposer, proposed_at, applied_at) VALUES "
                    f"('{used}', x'00', x'00', 'custodian/a', '{at.isoformat()}', '{at.isoformat()}')"
                )
            )
        place.put_back(kept)
        file = _document(place)
        place.sign(file, "custodian/a", "custodian/b", "reviewer/r")
        assert place.run("restore", "--change", file) == 0
        with read(place.engine()) as connection:
            assert connection.exec_driver_sql("SELECT change_id FROM forgotten_changes").scalars().all() == [used]

    def test_the_newest_store_is_not_restored_and_a_foreign_one_neither(
        self, place: Place, kept: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        place.start()
        file = _document(place)
        place.sign(file, "custodian/a", "custodian/b", "reviewer/r")
        assert place.run("restore", "--change", file) == 4
        assert "nothing to restore" in capsys.readouterr().err
        place.put_back(kept)
        rotate(place.start_anew(), LINKAGE)  # a fork
        other = _document(place, name="fork.json")
        place.sign(other, "custodian/a", "custodian/b", "reviewer/r")
        capsys.readouterr()
        assert place.run("restore", "--change", other) == 4
        assert "of another history" in capsys.readouterr().err

    def test_a_changed_backup_is_refused(self, place: Place, kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
        backup = place.folder / "backup.json"
        values = json.loads(backup.read_text())
        values["tables"]["pseudonymisation_keys"][0]["state"] = "retiring"
        changed = place.folder / "changed.json"
        changed.write_text(json.dumps(values))
        place.put_back(kept)
        file = _document(place, "--backup", changed)
        place.sign(file, "custodian/a", "custodian/b", "reviewer/r")
        before = place.states()
        assert place.run("restore", "--change", file, "--backup", changed) == 4
        assert "was changed" in capsys.readouterr().err
        assert place.states() == before

    @pytest.mark.parametrize("content", [b"", b"{}", b'{"document":"{}","signatures":[]}', b"\xff"])
    def test_a_file_that_is_no_signed_change_is_refused(self, place: Place, kept: Path, content: bytes) -> None:
        with pytest.raises(ChangeError):
            SignedChange.parse(content)
        (place.folder / "bad.json").write_bytes(content)
        assert place.run("restore", "--change", place.folder / "bad.json") == 4


class TestTheLog:
    @pytest.fixture
    def kept(self, place: Place) -> Path:
        store = place.begin()
        kept = place.keep("kept")
        rotate(store)
        place.anchor_log()
        return kept

    def _restore(self, place: Place, *arguments: object) -> int:
        file = _document(place)
        place.sign(file, "custodian/a", "custodian/b", "reviewer/r")
        return place.run("restore", "--change", file, *arguments)

    def test_entries_come_back_from_an_export_and_the_log_continues(
        self, place: Place, kept: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        export = place.folder / "export.jsonl"
        place.export_log(export)
        before = place.log()
        place.put_back(kept)
        assert len(place.log()) < len(before)
        assert self._restore(place, "--log", export) == 0
        assert "entries brought back" in capsys.readouterr().out
        assert place.log()[: len(before)] == before
        place.anchor_log()  # signs only what continues what was anchored

    def test_without_an_export_an_entry_says_what_is_missing(
        self, place: Place, kept: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        size = len(place.log())
        place.put_back(kept)
        start = len(place.log())
        assert self._restore(place) == 0
        assert f"entries {start} to {size - 1} are missing" in capsys.readouterr().out
        entry = next(one for one in place.log() if one["rpc"] == "log.restored")
        proof = json.loads(entry["evidence"])
        assert (proof["first"], proof["last"], entry["count"]) == (start, size - 1, size - start)

    def test_an_export_of_another_log_or_a_shorter_one_is_refused(
        self, place: Place, kept: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        export = place.folder / "export.jsonl"
        place.export_log(export)
        lines = export.read_bytes().splitlines(keepends=True)
        size = len(place.log())
        place.put_back(kept)
        start = len(place.log())
        short = place.folder / "short.jsonl"
        short.write_bytes(b"".join(lines[:-2]) + b'{"end":%d}\n' % (size - 1))
        changed = place.folder / "changed.jsonl"
        changed.write_bytes(b"".join(lines).replace(b'"rpc":"key.activate"', b'"rpc":"key.destroy"'))
        broken = place.folder / "broken.jsonl"
        broken.write_bytes(b"".join(lines[:-1]))
        for file in (short, changed, broken):
            assert self._restore_again(place, file) == 4
            said = capsys.readouterr().err
            assert str(file) in said
            assert ("give a newer export" in said) == (file == short)
            assert len(place.log()) == start

    def _restore_again(self, place: Place, export: Path) -> int:
        (place.folder / "change.json").unlink(missing_ok=True)
        return self._restore(place, "--log", export)


def test_postgresql_holds_to_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with postgres.cluster() as url:
        place = Place(tmp_path)
        place.set(database_url=url)
        store = place.begin()
        backup = tmp_path / "backup.json"
        assert place.run("backup", backup) == 0
        rotate(store)
        take(store, Transition.DESTROY, _FIRST)
        (tmp_path / "other").mkdir()
        other = Place(tmp_path / "other")
        other.start()
        other.close()
        assert place.run("rewrap", "--to", "file:other/kek") == 0
        place.set(kek="file:other/kek", kek_previous="file:kek")
        place.start()
        with place.engine().begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        place.close()
        place._engine = None
        file = _document(place, "--backup", backup)
        place.sign(file, "custodian/a", "custodian/b", "reviewer/r")
        assert place.run("restore", "--change", file, "--backup", backup) == 0, capsys.readouterr().err
        assert "source/prisme cpr version 2: LOST" in capsys.readouterr().out
        assert place.start().current()[1].usable(_FIRST) is None
        assert place.states()["source/prisme", "cpr", 1] == "destroyed"
        assert place.run("rewrap") == 0
        place.close()


def test_a_key_in_a_file_is_warned_of_in_the_log_and_in_words_but_not_for_synthetic_numbers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    warn_of_a_key_in_a_file("file:kek", Suite.SYNTHETIC)
    warn_of_a_key_in_a_file("vault:https://bao.example/transit/kek?token-file=t", Suite.KINLINK_V1)
    assert capsys.readouterr() == ("", "")
    with capture_logs() as logged:
        warn_of_a_key_in_a_file("file:kek", Suite.KINLINK_V1)
    assert "pseudonymizer: WARNING: kek is a file" in capsys.readouterr().err
    assert [(one["log_level"], one["setting"]) for one in logged] == [("warning", "kek")]


@pytest.mark.parametrize(
    ("versions", "days"),
    [
        ([("a", 0, None, None)], 130),  # in use: the last backup is of the day it was destroyed
        ([("a", 0, 50, None), ("b", 50, None, None)], 130),
        ([("a", 0, 50, 60), ("b", 50, None, 110)], 110),  # both gone
        ([("a", 0, 90, None), ("b", 90, None, 105)], 120),  # backups under the first are kept until then
        ([("a", 0, 5, None), ("b", 5, None, 101)], 101),  # the first was left before the key was made
        ([("a", 0, 90, 60), ("b", 90, None, 95)], 100),  # nothing is left when it is destroyed
    ],
)
def test_until_when_backups_open_a_destroyed_key(
    versions: list[tuple[str, int, int | None, int | None]], days: int
) -> None:
    """A key that lived from day 10 to day 100, with backups kept for 30 days."""

    def day(number: int) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)

    known = [
        wrappings.WrappingVersion(name, day(first), *(None if one is None else day(one) for one in rest))
        for name, first, *rest in versions
    ]
    assert wrappings.backups_until(known, day(10), day(100), timedelta(days=30)) == day(days)
