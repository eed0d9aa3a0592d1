"""What the client says before and after a call, and the certificates of development."""

from __future__ import annotations

import re
import stat
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from typer.testing import CliRunner

from kinlink import channel, errors
from kinlink.cli import dev, serve
from kinlink.cli.exit_codes import ExitCode
from kinlink.dev_certificates import DEFAULT_NAMES, make_certificates

SERVICES = Path(errors.__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("certificates")
    make_certificates(made, ["source/prisme", "source/old"], days=3, expired=["source/old"])
    return made


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_callers_certificate_names_it_and_is_for_clients_only(folder: Path) -> None:
    certificate = read(folder / "source-prisme.pem")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier("spiffe://kinlink.test/source/prisme")]
    use = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(use) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert certificate.not_valid_after_utc - datetime.now(UTC) <= timedelta(days=3)


def test_service_certificate_holds_the_names_it_is_dialled_by(folder: Path) -> None:
    names = read(folder / "service-linker.pem").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "linker"} <= set(names.get_values_for_type(x509.DNSName))
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_keys_are_their_owners_only_even_over_an_older_file(folder: Path) -> None:
    (folder / "source-prisme.key").chmod(0o644)
    make_certificates(folder, ["source/prisme", "source/old"], days=3, expired=["source/old"])
    assert {stat.S_IMODE(key.stat().st_mode) for key in folder.glob("*.key")} == {0o600}
    assert not list(folder.glob("ca*.key"))  # the CA's key is kept nowhere
    serials = {read(path).serial_number for path in folder.glob("*.pem")}
    assert len(serials) == len(list(folder.glob("*.pem")))


def test_certificates_are_made_for_the_default_names_and_both_services(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    stems = {path.stem for path in tmp_path.glob("*.pem")}
    assert {name.replace("/", "-") for name in DEFAULT_NAMES} | {
        "ca",
        "service-linker",
        "service-pseudonymizer",
    } == stems


def test_expired_certificate_is_said_before_dialling(folder: Path) -> None:
    who = channel.Identity(folder / "ca.pem", folder / "source-old.pem", folder / "source-old.key")
    with pytest.raises(errors.CertificateExpiredError) as caught:
        channel.open_channel("localhost:1", who)
    ended = read(folder / "source-old.pem").not_valid_after_utc
    assert f"expired on {ended:%Y-%m-%d %H:%M} UTC" in str(caught.value)
    assert "kinlink dev certs" in str(caught.value)
    assert caught.value.exit_code == ExitCode.REFUSED


def test_certificate_from_the_future_blames_the_clock(folder: Path) -> None:
    early = datetime.now(UTC) - timedelta(days=1)
    with pytest.raises(errors.CertificateExpiredError, match="clock"):
        channel.check_dates(folder / "source-prisme.pem", early)


@pytest.mark.parametrize("broken", ["missing.pem", "source-prisme.key"])
def test_file_that_is_no_certificate_is_bad_input(folder: Path, broken: str) -> None:
    with pytest.raises(errors.InputError) as caught:
        channel.open_channel("localhost:1", channel.Identity(folder / "ca.pem", folder / broken, folder / "x.key"))
    assert broken in str(caught.value)
    who = channel.Identity(folder / "ca.pem", folder / "source-prisme.pem", folder / "x.key")
    with pytest.raises(errors.InputError, match=r"x\.key"):
        channel.open_channel("localhost:1", who)


class Ended(grpc.RpcError, grpc.Call):  # type: ignore[misc]
    """A call that ended with a status."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self._code, self._details = code, details

    def code(self) -> Any:
        return self._code

    def details(self) -> Any:
        return self._details

    def trailing_metadata(self) -> Any:
        return ()

    initial_metadata = is_active = time_remaining = cancel = add_callback = trailing_metadata  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("code", "details", "reason", "exit_code"),
    [
        ("UNAVAILABLE", "failed to connect to all addresses; Connection refused", "UNREACHABLE", ExitCode.UNAVAILABLE),
        ("UNAVAILABLE", "Ssl handshake failed: CERTIFICATE_VERIFY_FAILED", "TLS_REFUSED", ExitCode.REFUSED),
        (  # as a service that is killed in the middle of a handshake shows
            "UNAVAILABLE",
            "failed to connect to all addresses; last error: Handshake read failed (Connection reset by peer)",
            "CONNECTION_CLOSED",
            ExitCode.UNAVAILABLE,
        ),
        (
            "UNAVAILABLE",
            "failed to connect to all addresses; last error: UNAVAILABLE: ipv4:127.0.0.1:1: Socket closed",
            "CONNECTION_CLOSED",
            ExitCode.UNAVAILABLE,
        ),
        ("UNAVAILABLE", "Socket closed", "UNREACHABLE", ExitCode.UNAVAILABLE),
        ("RESOURCE_EXHAUSTED", "Concurrent RPC limit exceeded!", "OVERLOADED", ExitCode.UNAVAILABLE),
        ("RESOURCE_EXHAUSTED", "Received message larger than max (9 vs. 8)", "MESSAGE_TOO_LARGE", ExitCode.OVER_LIMIT),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", "DEADLINE_EXCEEDED", ExitCode.UNAVAILABLE),
        ("UNIMPLEMENTED", "Method not found!", "UNIMPLEMENTED", ExitCode.REFUSED),
        ("UNKNOWN", "Exception iterating requests!", "UNKNOWN", ExitCode.INTERNAL),
    ],
)
def test_errors_that_grpc_makes_say_what_to_do(code: str, details: str, reason: str, exit_code: int) -> None:
    error = errors.from_rpc_error(Ended(grpc.StatusCode[code], details))
    assert (error.reason, error.exit_code) == (reason, exit_code)
    assert str(error).endswith(".")
    assert details not in str(error)


@pytest.mark.parametrize(
    ("details", "address"),
    [
        ("failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:8443: Refused", "10.0.0.1:8443"),
        ("failed to connect to all addresses; last error: UNKNOWN: ipv6:[::1]:8443: Refused", "[::1]:8443"),
        ("DNS resolution failed for linker.kk.test:8443: C-ares status is not SUCCESS", "linker.kk.test:8443"),
    ],
)
def test_a_service_that_is_away_is_named_by_its_address(details: str, address: str) -> None:
    error = errors.from_rpc_error(Ended(grpc.StatusCode.UNAVAILABLE, details))
    assert str(error).startswith(f"The service at {address} cannot be reached.")


def test_every_reason_that_a_service_gives_has_a_next_step() -> None:
    """Either here or, where NEXT holds "", in the service's own words: its message has a half that says what to do."""
    raised = re.compile(r"Error\((?:[^()]|\([^()]*\))*?\"([A-Z]+(?:_[A-Z]+)+)\"")
    sources = [
        path for package in ("servicekit", "linker", "pseudonymizer") for path in (SERVICES / package).rglob("*.py")
    ]
    found = {reason for path in sources for reason in raised.findall(path.read_text())}
    assert len(found) > 40
    assert found <= set(errors.NEXT), f"no next step: {found - set(errors.NEXT)}"


def test_every_class_has_an_exit_code_of_the_table() -> None:
    codes = {kind.exit_code for kind in [errors.KinlinkError, *errors._CLASSES.values()]}
    assert codes <= {int(code) for code in ExitCode}


app = typer.Typer()
dev.register(app)
serve.register(app)


def test_dev_certs_writes_what_it_says(tmp_path: Path) -> None:
    out = tmp_path / "certs"
    done = CliRunner().invoke(app, ["dev", "certs", "--out", str(out), "--days", "2", "--name", "source/elev"])
    assert done.exit_code == 0, done.output
    assert (out / "source-elev.pem").exists()
    assert "3 certificates" in done.output
    wrong = CliRunner().invoke(app, ["dev", "certs", "--out", str(out), "--name", "elev"])
    assert wrong.exit_code == ExitCode.USAGE
    assert "role/name" in wrong.output


@pytest.mark.parametrize("words", [["dev", "certs"], ["serve"]])
def test_help_has_an_example(words: list[str]) -> None:
    assert f"kinlink {' '.join(words)}" in CliRunner().invoke(app, [*words, "--help"]).output


served: list[Path] = []


def test_serve_runs_the_entry_point_with_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "linker.toml"
    config.write_text("")
    point = EntryPoint("linker", "tests.unit.served:append", "kinlink.serve")
    monkeypatch.setattr(serve, "entry_points", lambda **_: [point])
    monkeypatch.setattr(EntryPoint, "load", lambda _: served.append)
    assert CliRunner().invoke(app, ["serve", "linker", "--config", str(config)]).exit_code == 0
    assert served == [config]
    other = CliRunner().invoke(app, ["serve", "linkers", "--config", str(config)])
    assert other.exit_code == ExitCode.USAGE
    assert "installed here: linker" in other.output
