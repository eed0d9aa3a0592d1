from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from kinlink import ristretto255
from kinlink.pseudonyms import Kind, Suite
from pseudonymizer.keyset import Key, KeyName, Keyset
from pseudonymizer.keystore.encryption_keys import KeyStoreError, open_key_encryption_key
from pseudonymizer.keystore.store import KeyStore, is_empty
from pseudonymizer.lifecycle import KeyState
from servicekit import database
from servicekit.audit import AuditLog
from servicekit.errors import InvalidError, PreconditionError

_LINES = [("source/prisme", Kind.CPR), ("source/prisme", Kind.REPLACEMENT), ("linkage/familie", Kind.CPR)]
_PRIMARY = KeyName("source/prisme", Kind.CPR, 0)
_FIRST = KeyName("source/prisme", Kind.CPR, 1)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = database.engine(f"sqlite:///{tmp_path}/state.db")
    database.migrate(engine, "pseudonymizer")
    yield engine
    engine.dispose()


def _open(engine: Engine, folder: Path, kek: str = "file:kek", suite: Suite = Suite.SYNTHETIC) -> Keyset:
    key = open_key_encryption_key(kek, folder, first_start=is_empty(engine))
    return KeyStore(engine, key, suite, AuditLog(engine)).open(_LINES)


def _scalar(keyset: Keyset, domain: str = "source/prisme", kind: Kind = Kind.CPR) -> bytes:
    return keyset.for_evaluation(KeyName(domain, kind, 0)).scalar


def test_keys_are_made_once_random_and_kept_over_restarts(engine: Engine, tmp_path: Path) -> None:
    first, again = _open(engine, tmp_path), _open(engine, tmp_path)
    scalars = [_scalar(first, *line) for line in _LINES]
    assert scalars == [_scalar(again, *line) for line in _LINES]
    assert len(set(scalars)) == len(_LINES)
    assert first.for_evaluation(_PRIMARY).name.version == 1
    entries = AuditLog(engine).entries()
    assert [(e["rpc"], e["subject"], e["kind"], e["key_version"]) for e in entries] == [
        ("key.create", domain, kind, 1) for domain, kind in _LINES
    ]


def test_no_key_stands_on_disk(engine: Engine, tmp_path: Path) -> None:
    keyset = _open(engine, tmp_path)
    disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"pseudonymisation_keys" in disk
    for line in _LINES:
        assert _scalar(keyset, *line) not in disk
        assert _scalar(keyset, *line).hex().encode() not in disk
        assert ristretto255.multiply_base(_scalar(keyset, *line)) in disk  # the public check value


def test_another_key_encryption_key_is_said_clearly(engine: Engine, tmp_path: Path) -> None:
    _open(engine, tmp_path)
    (tmp_path / "other").write_bytes((tmp_path / "kek").read_bytes()[:-5][::-1] + b"AAA=\n")
    (tmp_path / "other").chmod(0o600)
    with pytest.raises(KeyStoreError, match="sealed under another key-encryption key"):
        _open(engine, tmp_path, "file:other")
    (tmp_path / "kek").unlink()
    with pytest.raises(KeyStoreError, match="restore it"):
        _open(engine, tmp_path)
    assert not (tmp_path / "kek").exists()


@pytest.mark.parametrize("content", ["", "AAAA", "not base64!", "AAAA" * 11, "A" * 43 + "é"])
def test_ill_formed_key_files_are_refused(engine: Engine, tmp_path: Path, content: str) -> None:
    (tmp_path / "kek").write_text(content)
    (tmp_path / "kek").chmod(0o600)
    with pytest.raises(KeyStoreError, match="32 bytes in base64"):
        _open(engine, tmp_path)


def test_a_key_file_that_everybody_reads_is_refused_and_a_made_one_is_not(engine: Engine, tmp_path: Path) -> None:
    _open(engine, tmp_path)
    assert (tmp_path / "kek").stat().st_mode & 0o777 == 0o600
    (tmp_path / "kek").chmod(0o644)
    with pytest.raises(KeyStoreError, match="chmod 600"):
        _open(engine, tmp_path)


def test_a_key_file_that_cannot_be_made_is_said_clearly(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyStoreError, match="cannot be made"):
        _open(engine, tmp_path, "file:file/kek")


def test_first_start_can_be_repeated_when_it_was_killed_while_the_key_file_was_made(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    def kill(_: int) -> bytes:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr("os.urandom", kill)
        with pytest.raises(KilledError):
            _open(engine, tmp_path)
    assert not (tmp_path / "kek").exists()
    _open(engine, tmp_path)
    assert [file.name for file in tmp_path.iterdir() if "kek" in file.name] == ["kek"]


@pytest.mark.parametrize("uri", ["", "kek", "http:kek", "file:"])
def test_unknown_providers_are_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(KeyStoreError, match="expected file:"):
        open_key_encryption_key(uri, tmp_path, first_start=True)


def test_a_store_of_the_other_suite_is_refused(engine: Engine, tmp_path: Path) -> None:
    _open(engine, tmp_path)
    with pytest.raises(KeyStoreError, match="another suite"):
        _open(engine, tmp_path, suite=Suite.KINLINK_V1)


def test_a_line_has_one_active_version(engine: Engine, tmp_path: Path) -> None:
    _open(engine, tmp_path)
    copy = text(
        "INSERT INTO pseudonymisation_keys SELECT domain, kind, version + 1, suite, state, generation, "
        "wrapping_version, wrapped_key, sealed, check_value, created_at, state_since, activated_at, compromised_at "
        "FROM pseudonymisation_keys"
    )
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(copy)


_ALLOWED = {  # state: evaluate, evaluate in a call begun under it, convert from, convert to, rekey from, rekey to
    KeyState.PENDING: (False, False, False, False, False, False),
    KeyState.ACTIVE: (True, True, True, True, False, True),
    KeyState.RETIRING: (False, True, True, True, True, False),
    KeyState.DISABLED: (False, False, False, False, False, False),
    KeyState.DESTROYED: (False, False, False, False, False, False),
    KeyState.COMPROMISED: (False, False, False, False, False, False),
}


@pytest.mark.parametrize("state", KeyState)
def test_what_a_key_may_be_used_for_in_each_state(state: KeyState) -> None:
    active, retiring = KeyName("linkage/a", Kind.CPR, 1), KeyName("linkage/b", Kind.CPR, 1)
    keyset = Keyset(
        [
            Key(_FIRST, state, bytes(32)),
            Key(active, KeyState.ACTIVE, bytes(32)),
            Key(retiring, KeyState.RETIRING, bytes(32)),
        ]
    )
    asked: list[Callable[[], object]] = [
        lambda: keyset.for_evaluation(_FIRST),
        lambda: keyset.for_evaluation(_FIRST, {_FIRST}),
        lambda: keyset.for_conversion(_FIRST, active),
        lambda: keyset.for_conversion(active, _FIRST),
        lambda: keyset.for_rekeying(_FIRST, active),
        lambda: keyset.for_rekeying(retiring, _FIRST),
    ]
    for ask, allowed in zip(asked, _ALLOWED[state], strict=True):
        if allowed:
            ask()
        else:
            with pytest.raises(PreconditionError) as refused:
                ask()
            assert refused.value.reason == "KEY_VERSION_INACTIVE"
    assert (keyset.usable(_FIRST) is None) == (state not in {KeyState.ACTIVE, KeyState.RETIRING})


def test_version_zero_is_the_primary_and_unknown_ones_are_refused() -> None:
    second = KeyName("source/prisme", Kind.CPR, 2)
    keyset = Keyset([Key(_FIRST, KeyState.RETIRING, bytes(32)), Key(second, KeyState.ACTIVE, bytes(32))])
    assert keyset.for_evaluation(_PRIMARY).name == second
    assert [key.name for key in keyset.for_rekeying(_FIRST, _PRIMARY)] == [_FIRST, second]
    for ask in (keyset.for_conversion, keyset.for_rekeying):
        with pytest.raises(InvalidError) as unset:
            ask(_PRIMARY, second)
        assert unset.value.reason == "KEY_VERSION_UNSPECIFIED"
    with pytest.raises(PreconditionError) as unknown:
        keyset.for_evaluation(KeyName("source/prisme", Kind.CPR, 3))
    assert unknown.value.reason == "KEY_VERSION_UNKNOWN"
    with pytest.raises(PreconditionError) as missing:
        keyset.for_evaluation(KeyName("source/dubu", Kind.CPR, 0))
    assert missing.value.reason == "KEY_MISSING"


def test_a_key_hides_its_scalar() -> None:
    key = Key(_FIRST, KeyState.ACTIVE, b"\x5a" * 32)
    assert repr(key) == "Key(source/prisme, cpr, 1, active)"
    with pytest.raises(TypeError):
        pickle.dumps(key)
