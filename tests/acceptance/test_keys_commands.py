"""`kinlink keys` and `kinlink approvals` as people use them, against a real service over mTLS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from kinlink.approval_keys import public_bytes, read_key, write_key
from kinlink.change_document import Action
from kinlink.cli.__main__ import build
from kinlink.dev_certificates import make_certificates
from kinlink.errors import KinlinkError
from kinlink.genesis import parse
from kinlink.signed_change import SignedChange
from tests.privacy.signing_service import DOMAIN, OTHERS, PEOPLE, SigningService

_WHY = ("--reason", "yearly rotation")


class People:
    """Runs `kinlink` as one of them; each has a folder with their key and kinlink.toml."""

    def __init__(self, folder: Path, service: SigningService) -> None:
        self.folder = folder
        self.service = service
        for name in (*PEOPLE, *OTHERS):
            self._equip(name)

    def _equip(self, name: str) -> None:
        stem = name.replace("/", "-")
        certificates = self.service.certificates
        lines = {
            "pseudonymizer": self.service.running.address,
            "linker": "localhost:1",
            "ca": certificates / "ca.pem",
            "certificate": certificates / f"{stem}.pem",
            "key": certificates / f"{stem}.key",
            "suite": "synthetic",
        }
        if name in self.service.keys:
            write_key(self.folder / f"{stem}.approval.key", self.service.keys[name])
            lines["approval_key"] = f"{stem}.approval.key"
        self.config(name).write_text("".join(f'{key} = "{value}"\n' for key, value in lines.items()))

    def config(self, name: str) -> Path:
        return self.folder / f"{name.replace('/', '-')}.toml"

    def run(self, name: str, *arguments: str | Path, said: str = "") -> Result:
        """Run a command, answering its questions with `said`."""
        words = [*map(str, arguments), "--config", str(self.config(name))]
        return CliRunner().invoke(build(), words, input=said)

    def told(self, name: str, *arguments: str | Path, said: str = "") -> str:
        """Return what a command that succeeds prints."""
        done = self.run(name, *arguments, said=said)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    def refused(self, name: str, *arguments: str | Path, said: str = "") -> KinlinkError:
        """Return the error that a command ends with."""
        done = self.run(name, *arguments, said=said)
        assert isinstance(done.exception, KinlinkError), done.output
        return done.exception


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder, (*PEOPLE, *OTHERS))
    return folder


@pytest.fixture
def people(tmp_path: Path, certificates: Path) -> Iterator[People]:
    service = SigningService(tmp_path, certificates)
    yield People(tmp_path, service)
    service.stop()


@pytest.fixture(scope="module")
def unmoved(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[People]:
    """People at a service in which nothing changes."""
    folder = tmp_path_factory.mktemp("unmoved")
    service = SigningService(folder, certificates)
    yield People(folder, service)
    service.stop()


def _next(text: str) -> list[str]:
    """Return the command that the last line tells to run next, without "kinlink"."""
    found = re.search(r"next: .*`kinlink ([^`]*)`", text.splitlines()[-1])
    assert found, text
    return found[1].split()


def test_a_rotation_step_by_step_each_told_by_the_one_before(people: People) -> None:
    made = people.told("custodian/a", "keys", "create", DOMAIN)
    assert f"{DOMAIN} cpr version 2: pending" in made
    assert _next(made)[:4] == ["keys", "propose", "activate", DOMAIN]
    assert f"{DOMAIN} replacement version 2: pending" in people.told("operator/drift", "keys", "status")

    proposed = people.told("custodian/a", "keys", "propose", "activate", DOMAIN, *_WHY, said="y\n")
    assert f"{DOMAIN} cpr version 2: becomes the primary" in proposed
    assert "reason: yearly rotation" in proposed
    assert "2 more approvals, one of them by a reviewer" in proposed
    approve = _next(proposed)
    assert _next(people.told("custodian/b", *approve, "--yes")) == approve, "a reviewer does the same"
    assert "[ ] missing      1 more approval, by a reviewer" in people.told("dpo/dpo", "keys", "status")
    approved = people.told("reviewer/r", *approve, said="y\n")
    activate = _next(approved)
    assert activate[:2] == ["keys", "activate"]
    assert "keys rekey" in people.told("custodian/c", *activate)

    status = people.told("custodian/a", "keys", "status", DOMAIN)
    assert f"{DOMAIN} cpr: version 1 -> 2 (retiring)" in status
    for line in ("proposed .* custodian/a", "approved .* custodian/b", "approved .* reviewer/r", "activated  *2"):
        assert re.search(rf"\[x\] {line}", status), line
    assert re.search(r"\[ \] holders done 0 of 1\n      source/prisme: not yet", status)
    assert re.search(rf"{DOMAIN} cpr +1 +retiring", people.told("source/prisme", "keys", "list"))
    assert "proposed" not in people.told("operator/drift", "keys", "status"), "an operator sees no signatures"
    assert "no change waits" in people.told("custodian/a", "approvals", "list")
    everything = people.told("custodian/a", "approvals", "list", "--all")
    assert re.search(r"^\w{8} activate: applied, ", everything, re.MULTILINE)
    assert "proposed by custodian/a; approved by custodian/b, reviewer/r" in everything


def test_what_is_not_confirmed_is_not_signed(people: People) -> None:
    people.told("custodian/a", "keys", "create", DOMAIN)
    for said in ("n\n", ""):  # "": nobody is there to answer
        error = people.refused("custodian/a", "keys", "propose", "activate", DOMAIN, *_WHY, said=said)
        assert error.reason == "NOT_SIGNED"
    assert people.service.client("dpo/dpo").changes() == []


@pytest.mark.parametrize(
    ("who", "arguments", "reason"),
    [
        ("custodian/a", ("keys", "propose", "activate", DOMAIN, *_WHY, "--yes"), "KEY_NOT_FOUND"),
        ("custodian/a", ("keys", "propose", "destroy", DOMAIN, "--version", "9", *_WHY, "--yes"), "KEY_NOT_FOUND"),
        ("custodian/a", ("keys", "compromise", DOMAIN, "--reason", "61 01 80-4321", "--yes"), "REASON_IDENTIFIER"),
        ("custodian/a", ("keys", "create", "source/none"), "KEY_MISSING"),
        ("custodian/a", ("keys", "show", "source/none"), "KEY_MISSING"),
        ("custodian/a", ("keys", "approve", "00"), "CHANGE_UNKNOWN"),
        ("operator/drift", ("keys", "compromise", DOMAIN, *_WHY, "--yes"), "NOT_A_SIGNER"),
        ("operator/drift", ("keys", "create", DOMAIN), "ACCESS_DENIED"),
        ("operator/drift", ("keys", "approve", "00"), "ACCESS_DENIED"),
        ("custodian/stranger", ("keys", "compromise", DOMAIN, *_WHY, "--yes"), "SIGNER_UNKNOWN"),
        ("custodian/a", ("approvals", "propose", "remove", "custodian/z", *_WHY, "--yes"), "SIGNER_UNKNOWN"),
        ("custodian/a", ("approvals", "propose", "enrol", "boss", "--public-key", "AA", *_WHY, "--yes"), "BAD_SIGNER"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_to_do(
    unmoved: People, who: str, arguments: tuple[str, ...], reason: str
) -> None:
    error = unmoved.refused(who, *arguments)
    assert error.reason == reason
    assert "80-4321" not in str(error)
    assert unmoved.service.client("dpo/dpo").changes() == []


def test_only_ones_own_kind_of_change_is_applied_under_its_name(people: People) -> None:
    people.told("custodian/a", "keys", "create", DOMAIN, "--kind", "cpr")
    proposed = people.told("custodian/a", "keys", "propose", "activate", DOMAIN, *_WHY, "--yes")
    change = _next(proposed)[-1]
    assert people.refused("custodian/a", "keys", "destroy", change).reason == "OTHER_ACTION"
    assert people.refused("custodian/a", "keys", "activate", change).reason == "APPROVALS_MISSING"


def test_a_key_file_that_others_can_read_signs_nothing(people: People) -> None:
    key = people.folder / "custodian-a.approval.key"
    key.chmod(0o644)
    error = people.refused("custodian/a", "keys", "compromise", DOMAIN, *_WHY, "--yes")
    assert (error.reason, "chmod 600" in str(error)) == ("KEY_FILE_READABLE", True)
    key.unlink()
    assert people.refused("custodian/a", "keys", "compromise", DOMAIN, *_WHY, "--yes").reason == "KEY_FILE"
    assert people.service.states() == {("cpr", 1): "active", ("replacement", 1): "active"}


def test_enrolling_makes_a_key_that_stays_and_lines_for_the_genesis_file(tmp_path: Path) -> None:
    file = tmp_path / "genesis.toml"
    for name in ("custodian/one", "custodian/two", "reviewer/three"):
        key = tmp_path / f"{name.partition('/')[2]}.key"
        arguments = ["approvals", "enrol", "--name", name, "--key", str(key), "--out", str(file)]
        done = CliRunner().invoke(build(), arguments, input="a passphrase\na passphrase\n")
        assert done.exit_code == 0, done.output
        assert key.stat().st_mode & 0o777 == 0o600
        assert b"ENCRYPTED" in key.read_bytes()
        assert f'name = "{name}"' in done.stdout
        assert "PRIVATE" not in done.output
    signers = parse(file.read_bytes()).signers
    assert [signer.name for signer in signers] == ["custodian/one", "custodian/two", "reviewer/three"]
    assert signers[0].public_key == public_bytes(read_key(tmp_path / "one.key", lambda: "a passphrase"))
    again = ["approvals", "enrol", "--name", "custodian/one", "--key", str(tmp_path / "one.key"), "--no-passphrase"]
    refused = CliRunner().invoke(build(), again)
    assert isinstance(refused.exception, KinlinkError)
    assert refused.exception.reason == "KEY_FILE_EXISTS"


def test_enrolling_makes_no_key_where_its_lines_cannot_be_written(tmp_path: Path) -> None:
    key, nowhere = tmp_path / "one.key", tmp_path / "missing/genesis.toml"
    arguments = ["approvals", "enrol", "--name", "custodian/one", "--key", key, "--no-passphrase", "--out", nowhere]
    refused = CliRunner().invoke(build(), list(map(str, arguments)))
    assert isinstance(refused.exception, KinlinkError)
    assert (refused.exception.reason, key.exists()) == ("OUT_FILE", False)


def test_a_person_is_enrolled_by_the_others(people: People) -> None:
    made = people.folder / "stranger.key"
    made.unlink(missing_ok=True)
    arguments = ["approvals", "enrol", "--name", "custodian/stranger", "--key", str(made), "--no-passphrase"]
    printed = CliRunner().invoke(build(), arguments).stdout
    public = re.search(r'public_key = "([^"]+)"', printed)
    assert public
    words = ("approvals", "propose", "enrol", "custodian/stranger", "--public-key", public[1])
    proposed = people.told("custodian/a", *words, "--reason", "a third custodian", "--yes")
    approve = _next(proposed)
    assert approve[:2] == ["approvals", "approve"]
    people.told("custodian/b", *approve, "--yes")
    shown = people.told("reviewer/r", "approvals", "show", approve[-1])
    assert public[1] in shown, "as the person reads it to those who enrol them"
    apply = _next(people.told("reviewer/r", *approve, "--yes"))
    assert apply[:2] == ["approvals", "apply"]
    people.told("custodian/a", *apply)
    assert re.search(r"custodian/stranger +\S+ +" + apply[-1], people.told("dpo/dpo", "approvals", "people"))
    assert "applied" in people.told("custodian/stranger", "keys", "compromise", DOMAIN, *_WHY, "--key", made, "--yes")


def test_a_change_in_a_file_is_signed_from_hand_to_hand(people: People) -> None:
    """For a service that is down: the restore of a key store."""
    change = people.service.change(Action.RESTORE, keys=(), store={"generation": 3})
    file = people.folder / "restore.json"
    file.write_bytes(SignedChange(change.document()).to_bytes())
    for name in ("custodian/a", "custodian/b", "reviewer/r"):
        assert "the key store is put back" in people.told(name, "approvals", "sign", file, "--yes")
    assert people.refused("reviewer/r", "approvals", "sign", file, "--yes").reason == "ALREADY_APPROVED"
    assert people.refused("dpo/dpo", "approvals", "sign", file, "--yes").reason == "NOT_A_SIGNER"
    signers = {name: people.service.signer(name) for name in PEOPLE}
    signed = SignedChange.parse(file.read_bytes())
    assert signed.missing(signers, change.log, people.service.clock()) is None
    file.write_text("{}")
    assert people.refused("custodian/a", "approvals", "sign", file, "--yes").reason == "CHANGE_INVALID"
