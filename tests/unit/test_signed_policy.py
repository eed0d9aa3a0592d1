"""Does the linker start with just the disclosure policy that the right people signed?"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import tomli_w
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs

from kinlink import policy_signatures
from kinlink.approval_keys import new_key, public_bytes, write_key
from kinlink.cli.__main__ import run
from linker import signed_policy
from linker.disclosure import policy
from linker.disclosure.policy import PolicyError
from linker.settings import LinkerSettings
from linker.signed_policy import SignedPolicy
from linker.store.policies import OlderPolicyError
from servicekit import database
from servicekit.audit import AuditLog
from servicekit.errors import UnavailableError
from servicekit.settings import SettingsFileError
from tests.unit.test_linker_settings import TOLD

SHIPPED = Path(policy.__file__).parent.parent / "disclosure.toml"
FIRST, SECOND = "custodian/noegle-1", "reviewer/revision"
KEYS = {name: new_key() for name in (FIRST, SECOND)}
PUBLIC = {name: public_bytes(key) for name, key in KEYS.items()}
CONTENT = SHIPPED.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A policy that both signed."""
    found = tmp_path / "disclosure.toml"
    found.write_bytes(CONTENT)
    write(found, {name: policy_signatures.sign(key, name, CONTENT) for name, key in KEYS.items()})
    return found


def write(path: Path, signatures: dict[str, bytes]) -> None:
    path.with_name("disclosure.toml.signatures").write_text(policy_signatures.file_of(signatures))


def test_a_policy_that_all_signed_is_loaded_with_its_digest_and_signers(path: Path) -> None:
    found = signed_policy.load(path, PUBLIC, real=True)
    assert found.policy == policy.parse(CONTENT)
    assert found.signers == (FIRST, SECOND)


def test_a_signature_more_than_is_asked_for_does_no_harm(path: Path) -> None:
    assert signed_policy.load(path, {FIRST: PUBLIC[FIRST]}, real=True).signers == (FIRST,)


def changed(path: Path) -> None:
    path.write_bytes(CONTENT + b"\n")


def gone(path: Path) -> None:
    path.with_name("disclosure.toml.signatures").unlink()


def only_first(path: Path) -> None:
    write(path, {FIRST: policy_signatures.sign(KEYS[FIRST], FIRST, CONTENT)})


def with_key(key: Ed25519PrivateKey, name: str = FIRST) -> Callable[[Path], None]:
    """Return what puts a signature with another key, or as somebody else, in the first one's place."""

    def replaced(path: Path) -> None:
        signatures = {signer: policy_signatures.sign(own, signer, CONTENT) for signer, own in KEYS.items()}
        write(path, signatures | {FIRST: policy_signatures.sign(key, name, CONTENT)})

    return replaced


def with_text(text: str) -> Callable[[Path], None]:
    return lambda path: path.with_name("disclosure.toml.signatures").write_text(text) and None


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "the file has changed": (changed, f"signature by {FIRST} is not for"),
    "no signatures": (gone, f"no signature by {FIRST}"),
    "one is missing": (only_first, f"no signature by {SECOND}"),
    "another key": (with_key(new_key()), f"signature by {FIRST} is not for"),
    "as somebody else": (with_key(KEYS[FIRST], SECOND), f"signature by {FIRST} is not for"),
    "not TOML": (with_text("["), "signatures is not TOML"),
    "another table": (with_text("[[signer]]"), r"must hold \[\[signature\]\]"),
    "not base64": (with_text('[[signature]]\nsigner = "a"\nsignature = "?"'), "signature 1: signature is base64"),
    "twice": (with_text('[[signature]]\nsigner = "a"\nsignature = ""\n' * 2), "signature 2: .*each signer once"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_policy_that_not_all_signed_as_it_is_does_not_start_a_linker(path: Path, name: str) -> None:
    breaking, wrong = BROKEN[name]
    breaking(path)
    with pytest.raises(PolicyError, match=wrong):
        signed_policy.load(path, PUBLIC, real=False)


def test_a_signature_for_something_else_by_the_same_key_does_not_count(path: Path) -> None:
    write(path, {name: key.sign(CONTENT) for name, key in KEYS.items()})
    with pytest.raises(PolicyError, match="is not for"):
        signed_policy.load(path, PUBLIC, real=True)


def test_real_identifiers_need_signers() -> None:
    with pytest.raises(PolicyError, match="disclosure_signers: a linker of real identifiers needs"):
        signed_policy.load(SHIPPED, {}, real=True)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    made = database.engine(f"sqlite:///{tmp_path / 'state.db'}")
    database.migrate(made, "linker")
    yield made
    made.dispose()


def test_development_goes_without_signers_and_says_so_once(engine: sa.Engine) -> None:
    with capture_logs() as said:
        signed_policy.load(SHIPPED, {}, real=False).record(engine, AuditLog(engine))
    assert [line["event"] for line in said if line["log_level"] == "warning"] == [
        "the disclosure policy is not signed: disclosure_signers names nobody"
    ]


def test_the_log_says_at_start_which_policy_is_in_force_and_who_signed_it(path: Path, engine: sa.Engine) -> None:
    audit = AuditLog(engine)
    found = signed_policy.load(path, PUBLIC, real=True)
    with capture_logs() as said:
        found.record(engine, audit)
    assert not said
    (entry,) = audit.entries()
    assert (entry["rpc"], entry["outcome"]) == ("disclosure.loaded", "ok")
    assert json.loads(entry["evidence"]) == {
        "serial": 1,
        "digest": found.policy.digest,
        "sha256": found.sha256,
        "signers": [FIRST, SECOND],
    }


def signed(path: Path, old: str = "", new: str = "") -> SignedPolicy:
    """Return the shipped policy after a change, signed by both."""
    content = SHIPPED.read_text().replace(old, new).encode()
    path.write_bytes(content)
    write(path, {name: policy_signatures.sign(key, name, content) for name, key in KEYS.items()})
    return signed_policy.load(path, PUBLIC, real=True)


def test_an_older_policy_is_refused_however_well_it_is_signed(path: Path, engine: sa.Engine) -> None:
    audit = AuditLog(engine)
    older, newer = signed(path), signed(path, "serial = 1\n", "serial = 3\n")
    older.record(engine, audit)
    newer.record(engine, audit)
    newer.record(engine, audit)  # the next start
    with pytest.raises(OlderPolicyError, match=r"its serial is 1, .* runs with serial 3 .* give this one serial 4"):
        older.record(engine, audit)
    newer.record(engine, audit)  # what was refused changed nothing
    entries = [(each["outcome"], each.get("reason", "")) for each in audit.entries()]
    assert entries == [("ok", "")] * 3 + [("refused", "POLICY_OLDER"), ("ok", "")]
    assert json.loads(list(audit.entries())[3]["evidence"])["serial"] == 1


def test_other_numbers_under_a_serial_that_was_in_force_are_refused(path: Path, engine: sa.Engine) -> None:
    audit = AuditLog(engine)
    signed(path).record(engine, audit)
    with pytest.raises(OlderPolicyError, match=r"serial 1 stands for other numbers, .* give this file serial 2"):
        signed(path, "threshold = 5\n", "threshold = 4\n").record(engine, audit)
    signed(path, "# The disclosure policy", "# Our disclosure policy").record(engine, audit)  # a comment is no number


def test_an_older_policy_does_not_come_into_force_because_its_refusal_cannot_be_logged(
    path: Path, engine: sa.Engine
) -> None:
    audit = AuditLog(engine)
    older = signed(path)
    signed(path, "serial = 1\n", "serial = 2\n").record(engine, audit)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit_entries RENAME TO away")
    with pytest.raises(UnavailableError):
        older.record(engine, audit)


def settings(signers: list[dict[str, str]]) -> str:
    return f"{TOLD}{tomli_w.dumps({'disclosure': 'disclosure.toml', 'disclosure_signers': signers})}"


def named(name: str, key: bytes) -> dict[str, str]:
    return {"name": name, "public_key": b64encode(key).decode()}


@pytest.mark.parametrize(
    ("signers", "wrong"),
    [
        ([named("dpo/dpo", PUBLIC[FIRST])], r"disclosure_signers.0.name: "),
        ([named(FIRST, PUBLIC[FIRST][:-1])], r"disclosure_signers.0.public_key: .*32 bytes"),
        ([named(FIRST, bytes(32))], r"disclosure_signers.0.public_key: .*32 bytes"),  # of small order
        ([{"name": FIRST, "public_key": "?"}], r"disclosure_signers.0.public_key: .*base64"),
        ([named(FIRST, PUBLIC[FIRST]), named(FIRST, PUBLIC[SECOND])], "each signer stands once"),
        ([named(FIRST, PUBLIC[FIRST]), named(SECOND, PUBLIC[FIRST])], "no two have one key"),
    ],
)
def test_signers_out_of_form_are_refused(tmp_path: Path, signers: list[dict[str, str]], wrong: str) -> None:
    file = tmp_path / "linker.toml"
    file.write_text(settings(signers))
    with pytest.raises(SettingsFileError, match=wrong):
        LinkerSettings.load(file)


def start(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "linker", "--config", str(file)], capture_output=True, text=True, check=False
    )


def test_a_linker_with_a_signature_of_another_file_does_not_start(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "linker.toml"
    file.write_text(settings([named(name, key) for name, key in PUBLIC.items()]))
    changed(path)
    ended = start(file)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"linker: disclosure: the signature by {FIRST} is not for {path} as it is now")
    assert "kinlink approvals sign-policy" in ended.stderr
    path.write_bytes(CONTENT)  # the control: signed as it is, it is the next thing that is missing
    assert "disclosure" not in start(file).stderr


def test_the_command_shows_what_is_signed_and_adds_one_signature_a_person(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "disclosure.toml"
    path.write_bytes(CONTENT)
    for name, key in KEYS.items():
        own = tmp_path / f"{name.replace('/', '-')}.key"
        write_key(own, key)
        arguments = ["approvals", "sign-policy", str(path), "--name", name, "--key", str(own)]
        assert run([*arguments, "--yes"]) == 0
        said = capsys.readouterr().out
        assert CONTENT.decode() in said
        assert b64encode(PUBLIC[name]).decode() in said
    assert signed_policy.load(path, PUBLIC, real=True).signers == (FIRST, SECOND)


@pytest.mark.parametrize("content", [b"threshold = 5 # \x1b[2K", "# \u202e".encode(), b"\xff"])
def test_what_a_terminal_would_not_show_is_not_signed(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path, own = tmp_path / "disclosure.toml", tmp_path / "own.key"
    path.write_bytes(content)
    write_key(own, KEYS[FIRST])
    assert run(["approvals", "sign-policy", str(path), "--name", FIRST, "--key", str(own), "--yes"]) == 3
    assert "nobody could see what they sign" in capsys.readouterr().err
    assert not path.with_name("disclosure.toml.signatures").exists()


@pytest.mark.parametrize("answer", ["", "n\n"])
def test_without_a_yes_nothing_is_signed(
    tmp_path: Path, answer: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    path, own = tmp_path / "disclosure.toml", tmp_path / "own.key"
    path.write_bytes(CONTENT)
    write_key(own, KEYS[FIRST])
    assert run(["approvals", "sign-policy", str(path), "--name", FIRST, "--key", str(own)]) != 0
    assert "Not signed" in capsys.readouterr().err
    assert not path.with_name("disclosure.toml.signatures").exists()
