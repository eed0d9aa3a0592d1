"""Key-encryption keys over each provider: one suite. What a provider is, tests/encryption_keys.py says."""

from __future__ import annotations

import logging
import os
import sqlite3
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, text

from kinlink.pseudonyms import Kind
from pseudonymizer.keystore import tables, wrappings
from pseudonymizer.keystore.anchored import GenerationAnchors
from pseudonymizer.keystore.encryption_keys import (
    KeyEncryptionKey,
    KeyStoreError,
    OtherKeyError,
    open_key_encryption_key,
    unframed,
    wrapping_version,
)
from pseudonymizer.keystore.rewrap import rewrap
from pseudonymizer.keystore.sealing import Sealer
from pseudonymizer.keystore.store import KeyStore
from pseudonymizer.policy import Policy
from servicekit import database
from servicekit.anchors import open_anchors
from servicekit.audit import AuditLog
from servicekit.database import read
from tests import encryption_keys
from tests.azure_key_vault import key_vault
from tests.encryption_keys import BaoServer, KeyVault, OpenBao, Provider, SoftHsm

DATA_KEY = os.urandom(32)


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaoServer]:
    server = BaoServer(tmp_path_factory.mktemp("bao"))
    yield server
    server.stop()


def openbao(folder: Path, server: BaoServer, mount: str = "transit") -> OpenBao:
    server.start()
    return OpenBao(folder, server, mount)


@pytest.fixture(params=["file", "pkcs11", "vault", "azurekv"])
def provider(request: pytest.FixtureRequest, tmp_path: Path, bao: BaoServer) -> Iterator[Provider]:
    with ExitStack() as stack:
        match request.param:
            case "file":
                yield encryption_keys.Files(tmp_path)
            case "pkcs11":
                stack.enter_context(encryption_keys.softhsm(tmp_path))
                yield SoftHsm(tmp_path, "kinlink")
            case "vault":
                yield openbao(tmp_path, bao)
            case "azurekv":
                yield KeyVault(stack.enter_context(key_vault(tmp_path)))


def opened(provider: Provider, folder: Path, uri: str = "") -> KeyEncryptionKey:
    previous = provider.previous_uri if not uri else None
    return open_key_encryption_key(uri or provider.uri, folder, first_start=False, previous_uri=previous)


def test_what_was_wrapped_unwraps_also_after_opening_again(provider: Provider, tmp_path: Path) -> None:
    kek = opened(provider, tmp_path)
    wrapped, again = kek.wrap(DATA_KEY), kek.wrap(DATA_KEY)
    assert wrapped != again
    assert DATA_KEY not in wrapped
    assert kek.unwrap(wrapped) == kek.unwrap(again) == DATA_KEY
    assert opened(provider, tmp_path).unwrap(wrapped) == DATA_KEY


def test_the_version_is_said_in_front_and_is_the_newest(provider: Provider, tmp_path: Path) -> None:
    kek = opened(provider, tmp_path)
    first = kek.version
    assert wrapping_version(kek.wrap(DATA_KEY)) == first
    assert first.isascii()
    assert first.isprintable()
    provider.rotate()
    second = opened(provider, tmp_path)
    assert second.version != first
    assert wrapping_version(second.wrap(DATA_KEY)) == second.version
    assert not any(secret in first + second.version for secret in provider.secrets)


def test_what_an_older_version_wrapped_unwraps_after_a_rotation(provider: Provider, tmp_path: Path) -> None:
    wrapped = opened(provider, tmp_path).wrap(DATA_KEY)
    provider.rotate()
    kek = opened(provider, tmp_path)
    assert kek.unwrap(wrapped) == DATA_KEY
    assert kek.unwrap(kek.wrap(DATA_KEY)) == DATA_KEY


def test_another_key_does_not_unwrap_and_says_which_one_wrapped(provider: Provider, tmp_path: Path) -> None:
    kek = opened(provider, tmp_path)
    wrapped = kek.wrap(DATA_KEY)
    with pytest.raises(OtherKeyError, match="sealed under another") as refused:
        opened(provider, tmp_path, provider.other()).unwrap(wrapped)
    assert kek.version in str(refused.value)


def test_what_another_provider_wrapped_is_not_ours(provider: Provider, tmp_path: Path) -> None:
    with pytest.raises(OtherKeyError, match="kek_previous"):
        opened(provider, tmp_path).unwrap(b"elsewhere:kek:v1\n" + bytes(60))


def test_what_was_altered_does_not_unwrap(provider: Provider, tmp_path: Path) -> None:
    kek = opened(provider, tmp_path)
    version, ciphertext = unframed(kek.wrap(DATA_KEY))
    for place in (0, 5, len(ciphertext) // 2, -1):
        altered = bytearray(ciphertext)
        altered[place] ^= 1
        with pytest.raises(KeyStoreError, match="restore a backup"):
            kek.unwrap(version.encode() + b"\n" + bytes(altered))


def test_what_was_never_wrapped_does_not_unwrap(provider: Provider, tmp_path: Path) -> None:
    kek = opened(provider, tmp_path)
    for wrapped in (b"", b"\n", b"no version", bytes(60), b"\xff\n" + bytes(44)):
        with pytest.raises(KeyStoreError, match="restore a backup"):
            kek.unwrap(wrapped)


def test_what_was_cut_short_does_not_unwrap(provider: Provider, tmp_path: Path) -> None:
    kek = opened(provider, tmp_path)
    wrapped = kek.wrap(DATA_KEY)
    for length in (len(kek.version) + 1, len(wrapped) - 1):
        with pytest.raises(KeyStoreError, match="restore a backup"):
            kek.unwrap(wrapped[:length])


def test_a_version_that_is_gone_is_said_clearly(provider: Provider, tmp_path: Path) -> None:
    wrapped = opened(provider, tmp_path).wrap(DATA_KEY)
    provider.rotate()
    provider.forget()
    with pytest.raises(KeyStoreError, match=r"cannot be read|has no|closed by"):
        opened(provider, tmp_path).unwrap(wrapped)


def test_an_unavailable_provider_is_said_clearly_without_any_secret(
    provider: Provider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    kek = opened(provider, tmp_path)
    wrapped = kek.wrap(DATA_KEY)
    assert kek.unwrap(wrapped) == DATA_KEY
    provider.unavailable()
    said = ""
    for question in (lambda: opened(provider, tmp_path), lambda: opened(provider, tmp_path).unwrap(wrapped)):
        with pytest.raises(KeyStoreError, match=r"^kek: ") as refused:
            question()
        said += str(refused.value) + "".join(traceback.format_exception_only(refused.value))
    logged = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    for secret in (*provider.secrets, DATA_KEY.hex(), str(DATA_KEY)):
        assert secret not in said
        assert secret not in logged


def test_openbao_logs_in_by_role_and_again_when_the_token_ended(tmp_path: Path, bao: BaoServer) -> None:
    vault = openbao(tmp_path, bao, "municipality/transit")
    rule = f'path "{vault.mount}/' + '{}/kek" {{ capabilities = ["{}"] }}'
    allowed = [("keys", "read"), ("encrypt", "update"), ("decrypt", "update")]
    vault.client.sys.create_or_update_policy("kek", "\n".join(rule.format(*pair) for pair in allowed))
    vault.client.sys.enable_auth_method("approle")
    role = vault.client.auth.approle
    role.create_or_update_approle("pseudonymizer", token_policies=["kek"], token_num_uses=2)
    (tmp_path / "role").write_text(role.read_role_id("pseudonymizer")["data"]["role_id"])
    (tmp_path / "secret").write_text(role.generate_secret_id("pseudonymizer")["data"]["secret_id"] + "\n")
    kek = opened(vault, tmp_path, vault.at("kek", "role-id-file=role&secret-id-file=secret"))
    for _ in range(3):  # each token is good for two questions
        assert kek.unwrap(kek.wrap(DATA_KEY)) == DATA_KEY
    vault.make("other")
    with pytest.raises(KeyStoreError, match="refuses the login, or its policy this key"):
        opened(vault, tmp_path, vault.at("other", "role-id-file=role&secret-id-file=secret"))
    (tmp_path / "secret").write_text("wrong")
    with pytest.raises(KeyStoreError, match="refuses"):
        opened(vault, tmp_path, vault.at("kek", "role-id-file=role&secret-id-file=secret"))


def test_openbao_keys_that_could_leave_the_engine_or_are_not_authenticated_are_refused(
    tmp_path: Path, bao: BaoServer
) -> None:
    vault = openbao(tmp_path, bao)
    for name, options in {
        "exportable": {"exportable": True},
        "derived": {"derived": True},
        "rsa": {"key_type": "rsa-2048"},
    }.items():
        with pytest.raises(KeyStoreError, match="must be of type aes256-gcm96"):
            opened(vault, tmp_path, vault.make(name, **options))
    with pytest.raises(KeyStoreError, match="make the key"):
        opened(vault, tmp_path, vault.at("missing"))


def test_openbao_takes_nothing_that_was_encrypted_for_another_use(tmp_path: Path, bao: BaoServer) -> None:
    vault = openbao(tmp_path, bao)
    kek = opened(vault, tmp_path)
    foreign = vault.client.secrets.transit.encrypt_data("kek", plaintext="A" * 43 + "=", mount_point=vault.mount)
    with pytest.raises(KeyStoreError, match="restore a backup"):
        kek.unwrap(kek.version.encode() + b"\n" + foreign["data"]["ciphertext"].encode())


@pytest.mark.parametrize(
    ("path", "pin", "said"),
    [
        ("object=kinlink%20kek", "wrong-pin", "PIN in pin-source"),
        ("object=kinlink%20kek", "no-pin", "cannot be read"),
        ("object=missing", "pin", "no such key"),
        ("object=kinlink%20kek;id=%09", "pin", "no such key"),
    ],
)
def test_a_token_says_what_is_wrong(tmp_path: Path, path: str, pin: str, said: str) -> None:
    with encryption_keys.softhsm(tmp_path):
        token = SoftHsm(tmp_path, "kinlink")
        (tmp_path / "wrong-pin").write_text("0000")
        with pytest.raises(KeyStoreError, match=said):
            opened(token, tmp_path, token.at(path, pin))


def test_a_token_key_that_could_leave_or_is_ambiguous_is_refused(tmp_path: Path) -> None:
    with encryption_keys.softhsm(tmp_path):
        token = SoftHsm(tmp_path, "kinlink")
        with pytest.raises(KeyStoreError, match="not extractable"):
            opened(token, tmp_path, token.make(b"\x05", EXTRACTABLE=True))
        with pytest.raises(KeyStoreError, match="name one with id="):
            opened(token, tmp_path, token.at("object=kinlink%20kek"))


def test_azure_gets_a_challenge_and_the_private_half_stays_there(tmp_path: Path) -> None:
    with key_vault(tmp_path) as fake:
        vault = KeyVault(fake)
        kek = opened(vault, tmp_path)
        version = kek.version.rpartition("/")[2]
        assert kek.unwrap(kek.wrap(DATA_KEY)) == DATA_KEY
        assert 401 in [status for *_, status in fake.asked]
        assert ("POST", f"/keys/kek/{version}/unwrapkey", 200) in fake.asked
        fake.disabled.add(version)
        with pytest.raises(KeyStoreError, match="disabled"):
            kek.unwrap(kek.version.encode() + b"\n" + bytes(256))


@pytest.mark.parametrize(
    "uri",
    [
        "vault:ftp://host/transit/kek?token-file=t",
        "vault:https://host/kek?token-file=t",
        "vault:https://host/transit/kek",
        "vault:https://user@host/transit/kek?token-file=t",
        "vault:https://host/transit/kek?token-file=t&secret-id-file=s",
        "vault:https://host/transit/kek?token=t",
        "vault:http://host.example/transit/kek?token-file=t",
        "azurekv:http://v.vault.azure.net/keys/kek",
        "azurekv:https://v.vault.azure.net/secrets/kek",
        "azurekv:https://v.vault.azure.net/keys/kek?x=1",
        "azurekv:https://v.vault.azure.net:bad/keys/kek",
        "pkcs11:object=kek?module-path=m&pin-source=p",
        "pkcs11:token=t;object=kek",
        "pkcs11:token=t;object=kek?module-path=m&pin-value=1234",
        "pkcs11:token=t;object=kek?module-path=m&pin-source=p&pin-source=q",
        "pkcs11:token=t;object=kek;type=private?module-path=m&pin-source=p",
    ],
)
def test_ill_formed_uris_are_refused_by_their_expected_form(tmp_path: Path, uri: str) -> None:
    with pytest.raises(KeyStoreError, match=r"^kek: (expected|vault: needs https)") as refused:
        open_key_encryption_key(uri, tmp_path, first_start=False)
    assert "1234" not in str(refused.value)


@pytest.mark.parametrize(
    ("scheme", "package", "extra"),
    [("pkcs11", "pkcs11", "pkcs11"), ("vault", "hvac", "vault"), ("azurekv", "azure.identity", "azurekv")],
)
def test_a_missing_package_is_named_by_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, package: str, extra: str
) -> None:
    module = {"pkcs11": "pkcs11_key", "vault": "vault_key", "azurekv": "azure_key"}[scheme]
    monkeypatch.delitem(__import__("sys").modules, f"pseudonymizer.keystore.{module}", raising=False)
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(KeyStoreError, match=rf"install kinlink\[{extra}\]"):
        open_key_encryption_key(f"{scheme}:something", tmp_path, first_start=False)


# A key store under each provider: what show item "unsealing fails clearly" asks for.

_POLICY = Policy.model_validate({"domain": [{"name": "source/prisme", "kinds": ["cpr", "replacement"]}]})


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    (tmp_path / "state").mkdir()
    engine = database.engine(f"sqlite:///{tmp_path}/state/state.db")
    database.migrate(engine, "pseudonymizer")
    yield engine
    engine.dispose()


def store_under(engine: Engine, kek: KeyEncryptionKey) -> KeyStore:
    anchors = open_anchors(["file:anchors"], Path(str(engine.url.database)).parent)
    store = KeyStore(engine, kek, _POLICY.suite, AuditLog(engine), anchors=GenerationAnchors(engine, anchors))
    store.open(_POLICY.key_lines())
    return store


def test_a_store_opens_with_the_key_it_was_sealed_under_and_says_so_when_that_is_another(
    provider: Provider, engine: Engine, tmp_path: Path
) -> None:
    first = store_under(engine, opened(provider, tmp_path)).current()
    assert store_under(engine, opened(provider, tmp_path)).current()[0] == first[0]
    with pytest.raises(KeyStoreError, match="sealed under another key-encryption key"):
        store_under(engine, opened(provider, tmp_path, provider.other()))


def test_a_row_whose_associated_data_was_changed_does_not_open(
    provider: Provider, engine: Engine, tmp_path: Path
) -> None:
    kek = opened(provider, tmp_path)
    store_under(engine, kek)
    with engine.begin() as connection:
        connection.execute(text("UPDATE pseudonymisation_keys SET kind = 'address' WHERE kind = 'cpr'"))
        rows = {row["kind"]: row for row in connection.execute(select(tables.keys)).mappings()}
    with pytest.raises(KeyStoreError, match="changed by something else"):  # the seal over all rows
        store_under(engine, kek)
    Sealer(kek).unseal(rows["replacement"])
    with pytest.raises(KeyStoreError, match="was changed; restore a backup"):  # the row itself
        Sealer(kek).unseal(rows["address"])


def test_a_store_that_was_rolled_back_does_not_open(provider: Provider, engine: Engine, tmp_path: Path) -> None:
    kek = opened(provider, tmp_path)
    store = store_under(engine, kek)
    state, kept = tmp_path / "state" / "state.db", tmp_path / "kept.db"
    copy(state, kept)
    with store.change() as connection:
        store.create(connection, "source/prisme", Kind.CPR)
    copy(kept, state)
    with pytest.raises(KeyStoreError, match="an older key store was put back"):
        store_under(engine, kek)


def test_rewrapping_after_a_rotation_leaves_nothing_under_the_old_version(
    provider: Provider, engine: Engine, tmp_path: Path
) -> None:
    store = store_under(engine, opened(provider, tmp_path))
    before = {name: key.scalar for name, key in store.current()[1]._keys.items()}
    with read(engine) as connection:
        (old,) = wrappings.in_use(connection)
    provider.rotate()
    kek = opened(provider, tmp_path)
    new = opened(provider, tmp_path, provider.uri)
    done = rewrap(engine, store_under(engine, kek), kek, new, AuditLog(engine))
    assert done.before == (old,)
    assert done.version == new.version != old
    with read(engine) as connection:
        assert wrappings.in_use(connection) == {new.version}
    assert old.encode() + b"\n" not in b"".join(path.read_bytes() for path in (tmp_path / "state").glob("state.db*"))
    provider.forget()
    again = store_under(engine, opened(provider, tmp_path, provider.uri)).current()[1]
    assert {name: key.scalar for name, key in again._keys.items()} == before


def copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.backup(writing)
