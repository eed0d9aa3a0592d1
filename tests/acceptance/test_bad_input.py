"""Bad input, over the real stack: each has its own clear error, and nothing is lost or half stored.

What a source's owner can do wrong with a file is in FILES below, what a deployment can do wrong in the tests after it,
and what a program can do wrong on the wire in STREAMS of `test_bad_streams.py`. Every one asserts the reason, the exit
code, words that say where and what to do next, that no value of the data is in anything that was written, and that
deliveries, snapshot and staging are as before.

    wrong separator, wrong encoding, missing column      FILES
    31 February, CPR of 8 digits, "1,234.56"             FILES (and the rejects file)
    truncated file, empty file, a folder, unreadable     FILES, test_a_file_that_..., test_a_disk_...
    unknown service code, wrong mapping key              FILES
    rejects above the limit                              FILES (every TOO_MANY_REJECTS)
    amount "1.234,56-" read right; duplicate delivery    test_a_sound_file_is_read_right_and_taken_once
    file cut off mid-upload                              test_bad_streams.py; here test_a_file_that_changes_...
    endless stream of garbage                            test_bad_streams.py; here test_a_port_..., FILES
    message over the size limit                          STREAMS; of the pseudonymizer: test_pseudonymizer.py
    non-canonical group element                          STREAMS; of the pseudonymizer: test_pseudonymizer.py
    header that lies                                     STREAMS
    expired certificate, wrong CA, other role            test_an_expired_..., test_certificates_of_..., ROLES
    pseudonymizer or linker down during delivery         test_a_service_that_is_down_...
    pseudonymizer down during linkage, run resumable     test_linker.py, test_a_run_waits_for_the_pseudonymizer_...
    over budget, refused whole                           test_pseudonymizer.py
    kinlink.toml wrong                                   test_deliver.py, test_a_wrong_configuration_is_named
    a field of the schema missing, a filter too short    test_bad_encodings.py; in a mapping: test_describe.py
    another version of the schema, a key replaced        test_bad_encodings.py; test_encoded_delivery.py
    a token that half the population has                 test_bad_encodings.py; test_linkage_stage.py
    a field empty everywhere, a month of three postings  test_bad_encodings.py; test_linkage_stage.py
    records of which nothing is known                    test_bad_encodings.py; test_linkage_stage.py
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
import polars as pl
import pytest
import tomli_w

from examples.stack import PARTIES, Stack
from kinlink.cli.__main__ import run
from kinlink.delivery.deliver import send
from kinlink.dev_certificates import make_certificates
from kinlink.errors import from_rpc_error
from kinlink.intake_client import IntakeClient
from kinlink.linker.v1 import intake_service_pb2 as pb
from kinlink.linker.v1.intake_service_pb2_grpc import IntakeServiceStub
from tests.acceptance.held import held, stored
from tests.acceptance.test_linker import channel
from tests.unit.delivery.extracts import CODES, HEADER, POSTINGS

EXPIRED = "source/momentum"
ROW = "100;05-03-2014;201403;610180-0010;Zibrandtsen;98.765,43-\r\n"
FILE = HEADER + ROW + ROW.replace("05-03", "06-03")
PLANTED = ("610180", "Zibrandtsen", "98.765", "9876543", "05-03-2014", "06-03-2014")
STRICT = POSTINGS.replace("max_rejected_share = 1.0", "max_rejected_share = 0.1")
LIMIT = "1 of 2 rows are bad (50.0%); the mapping allows 10.0%. Nothing was sent. See the rejects file, then mend"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("bad")
    make_certificates(folder / "certs", PARTIES, expired=[EXPIRED])
    with Stack(folder) as started:
        yield started


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str
    rejects: str


Deliver = Callable[..., Said]


@pytest.fixture
def delivering(stack: Stack, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Deliver:
    """Run `kinlink deliver` on an extract; see that nothing is shown of its values, and no traceback."""

    def delivered(
        text: str | Path,
        mapping: str = POSTINGS,
        *,
        encoding: str = "windows-1252",
        config: Path | None = None,
        planted: tuple[str, ...] = PLANTED,
    ) -> Said:
        extract = text if isinstance(text, Path) else tmp_path / "extract.csv"
        if isinstance(text, str):
            extract.write_bytes(text.encode(encoding))
        (tmp_path / "konto.csv").write_text(CODES)
        (tmp_path / "mapping.toml").write_text(mapping, encoding="utf-8")
        rejects = tmp_path / "rejects.csv"
        rejects.unlink(missing_ok=True)
        told = ["--mapping", tmp_path / "mapping.toml", "--period", "2014", "--rejects", rejects]
        config = config or stack.client("source/prisme")
        capfd.readouterr()
        code = run(["deliver", *map(str, told), "--config", str(config), str(extract)])
        said = capfd.readouterr()
        written = Said(code, said.out, said.err, rejects.read_text() if rejects.exists() else "")
        logs = [(stack.folder / f"{service}.log").read_text() for service in ("pseudonymizer", "linker")]
        for place in (written.out, written.err, written.rejects, *logs):
            assert not [value for value in planted if value in place], place
            assert "Traceback" not in place
        return written

    return delivered


@dataclass(frozen=True, slots=True)
class File:
    """An extract and its mapping, and how delivering it ends. `planted` are its own bad values."""

    text: str | Path
    code: int
    reason: str
    says: tuple[str, ...]
    mapping: str = POSTINGS
    encoding: str = "windows-1252"
    rejected: str = ""
    planted: tuple[str, ...] = ()


FILES = {
    "wrong separator": File(
        FILE.replace(";", "|"),
        3,
        "WRONG_SEPARATOR",
        ("extract.csv is not separated by semicolon: it seems to be pipe", "Set separator = '|' in the mapping"),
    ),
    "wrong encoding": File(
        FILE,
        3,
        "WRONG_ENCODING",
        ("extract.csv is not windows-1252 text: row 1", 'looks like utf-8: set encoding = "utf-8" in the mapping'),
        encoding="utf-8",
    ),
    "a workbook": File("PK\x03\x04" + FILE, 3, "WRONG_ENCODING", ("is a workbook or an archive", "Save it as CSV")),
    "missing column": File(
        FILE.replace("Dato", "Bogført"),
        3,
        "MISSING_COLUMN",
        ("extract.csv lacks the column Dato (6 columns found in row 1)", "Check that this is the right file"),
    ),
    "no header": File(ROW * 2, 3, "MISSING_COLUMN", ("lacks the columns Beløb, Dato, Konto", "or change the mapping")),
    "truncated": File(
        FILE[:-12],
        3,
        "TRUNCATED",
        ("extract.csv ends in the middle of row 3: the file was cut off", "Transfer it again"),
    ),
    "empty": File("", 3, "EMPTY_FILE", ("extract.csv has no rows", "Ask for a new extract")),
    "a folder": File(Path("/usr"), 3, "EXTRACT_MISSING", ("/usr is a folder", "Give the file")),
    "not there": File(Path("/none.csv"), 3, "EXTRACT_MISSING", ("/none.csv cannot be read", "Check the path")),
    "garbage without end": File(
        Path("/dev/zero"), 3, "WRONG_ENCODING", ("zero is not windows-1252 text: row 1", "ask for a new extract")
    ),
    "unknown service code": File(
        FILE.replace("100;06", "98989;06"),
        3,
        "UNKNOWN_CODE",
        ("1 row(s) hold a code that konto.csv lacks: column Konto, first in extract.csv row 3", "Add the code"),
        rejected="extract.csv;3;Konto;unknown_code;a code of konto.csv",
        planted=("98989",),
    ),
    "31 February": File(
        FILE.replace("06-03", "31-02"),
        7,
        "TOO_MANY_REJECTS",
        (LIMIT,),
        mapping=STRICT,
        rejected="extract.csv;3;Dato;not_a_date;a date written dd-mm-yyyy",
        planted=("31-02",),
    ),
    "CPR of 8 digits": File(
        HEADER + ROW + ROW.replace("610180-0010", "62118000"),
        7,
        "TOO_MANY_REJECTS",
        (LIMIT,),
        mapping=STRICT.replace(', not_a_person = "cvr"', ""),
        rejected="extract.csv;3;Registrant;not_a_cpr;a CPR number, ten digits beginning with a real date, or a "
        "replacement number",
        planted=("62118000",),
    ),
    "amount 1,234.56 under the Danish mapping": File(
        HEADER + ROW + ROW.replace("98.765,43-", "7,654.32"),
        7,
        "TOO_MANY_REJECTS",
        (LIMIT,),
        mapping=STRICT,
        rejected="extract.csv;3;Beløb;not_an_amount;kroner written 1.234,56, minus in front or behind",
        planted=("7,654.32",),
    ),
    "a row with a field too many": File(
        HEADER + ROW + ROW.replace("Zib", "Z;ib"),
        7,
        "TOO_MANY_REJECTS",
        (LIMIT,),
        mapping=STRICT,
        rejected='extract.csv;3;"";fields;as many fields as the header',
    ),
    "wrong mapping key": File(
        FILE,
        3,
        "BAD_MAPPING",
        ("mapping.toml: max_rejectet_share is not known. Did you mean max_rejected_share?",),
        mapping=POSTINGS.replace("max_rejected", "max_rejectet"),
    ),
    "wrong mapping key for one that must be there": File(
        FILE,
        3,
        "BAD_MAPPING",
        ("mapping.toml lacks dataset. Did you write datasett for it?",),
        mapping=POSTINGS.replace("dataset", "datasett"),
    ),
    "mapping for a dataset of another source": File(
        "a;b\n6101800010;6201800012\n",
        4,
        "DATASET_NOT_ALLOWED",
        ("This source may not deliver the dataset aliases. Check that the mapping and the certificate",),
        mapping='dataset = "aliases"\nfile.encoding = "utf-8"\n[columns]\nformer.from = "a"\ncurrent.from = "b"\n',
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_refused_with_its_own_words(stack: Stack, delivering: Deliver, name: str) -> None:
    file = FILES[name]
    before = held(stack)
    said = delivering(file.text, file.mapping, encoding=file.encoding, planted=(*PLANTED, *file.planted))
    assert (said.code, f"[{file.reason}]" in said.err) == (file.code, True), said.err
    assert [words for words in file.says if words not in said.err] == [], said.err
    assert said.err.startswith("kinlink: ")
    assert said.rejects.splitlines()[1:] == ([file.rejected] if file.rejected else [])
    assert held(stack) == before


def test_a_bad_row_under_the_limit_is_left_out_and_said(stack: Stack, delivering: Deliver) -> None:
    said = delivering(FILE.replace("06-03", "31-02"))
    assert said.code == 0, said.err
    assert "1 x not_a_date in Dato" in said.out
    assert "to deliver     1 rows" in said.out
    assert said.rejects.splitlines()[1:] == ["extract.csv;3;Dato;not_a_date;a date written dd-mm-yyyy"]


def test_a_sound_file_is_read_right_and_taken_once(stack: Stack, delivering: Deliver) -> None:
    text = HEADER + ROW.replace("98.765,43-", "1.234,56-")
    said = delivering(text)
    assert (said.code, said.err, said.rejects) == (0, "", "")
    after = held(stack)
    (accepted,) = (line.split()[1] for line in said.out.splitlines() if line.startswith("  delivery"))
    rows = stored(stack).filter(pl.col("delivery_id") == accepted)
    assert rows["amount_ore"].to_list() == [-123456]
    again = delivering(text)
    assert (again.code, f"{accepted} already accepted" in again.out) == (0, True)
    assert held(stack) == after
    assert stored(stack).filter(pl.col("delivery_id") == accepted).height == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_is_named(stack: Stack, delivering: Deliver, tmp_path: Path) -> None:
    before = held(stack)
    extract = tmp_path / "extract.csv"
    extract.write_text(FILE)
    extract.chmod(0)
    said = delivering(extract)
    assert (said.code, "Check the path and its permissions. [EXTRACT_MISSING]" in said.err) == (3, True), said.err
    assert held(stack) == before


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file whose reading fails: /proc/self/mem")
def test_a_disk_that_fails_while_it_is_read_is_named(stack: Stack, delivering: Deliver) -> None:
    before = held(stack)
    said = delivering(Path("/proc/self/mem"))
    assert (said.code, "/proc/self/mem cannot be read" in said.err) == (3, True), said.err
    assert held(stack) == before


@pytest.mark.parametrize("now", [ROW, ROW + ROW.replace("610180-0010", "620180-0012")], ids=["shorter", "others"])
def test_a_file_that_changes_between_its_readings_is_not_delivered(
    stack: Stack, delivering: Deliver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: str
) -> None:
    """The first reading knows whom to pseudonymise; a row that is new to the second must not lose its person."""
    real = send

    def changed(*told: object) -> object:
        (tmp_path / "extract.csv").write_bytes((HEADER + now).encode("windows-1252"))
        return real(*told)  # type: ignore[arg-type]

    before = held(stack)
    monkeypatch.setattr("kinlink.cli.deliver.send", changed)
    said = delivering(FILE)
    assert (said.code, "[CHANGED]" in said.err, "Run again when it is complete" in said.err) == (3, True, True), said
    assert held(stack) == before


def send_without_end(stranger: socket.socket) -> None:
    while True:
        stranger.sendall(b"\x17" * 65_536)


@pytest.mark.parametrize("service", ["pseudonymizer", "linker"])
def test_a_port_that_gets_garbage_closes_and_serves_on(stack: Stack, delivering: Deliver, service: str) -> None:
    before = held(stack)
    host, _, port = stack.processes[service].address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as stranger, pytest.raises(ConnectionError):
        send_without_end(stranger)
    assert delivering(FILE.replace("06-03", "31-02"), STRICT).code == 7
    assert stack.processes[service].popen.poll() is None
    assert held(stack) == before


def configured(stack: Stack, folder: Path, **changes: object) -> Path:
    """Write prisme's kinlink.toml with changes."""
    certs = stack.folder / "certs"
    content = {
        "pseudonymizer": stack.processes["pseudonymizer"].address,
        "linker": stack.processes["linker"].address,
        "ca": str(certs / "ca.pem"),
        "certificate": str(certs / "source-prisme.pem"),
        "key": str(certs / "source-prisme.key"),
        "suite": "synthetic",
    }
    path = folder / "kinlink.toml"
    path.write_text(tomli_w.dumps({**content, **{name: str(value) for name, value in changes.items()}}))
    return path


def party(certs: Path, name: str) -> dict[str, Path]:
    return {"certificate": certs / f"{name}.pem", "key": certs / f"{name}.key"}


def test_an_expired_certificate_is_said_before_dialling_and_refused_without(
    stack: Stack, delivering: Deliver, tmp_path: Path
) -> None:
    before, certs = held(stack), stack.folder / "certs"
    own = party(certs, "source-momentum")
    nowhere = {"pseudonymizer": "127.0.0.1:1", "linker": "127.0.0.1:1"}
    said = delivering(FILE, config=configured(stack, tmp_path, **own, **nowhere))
    assert (said.code, "[CERTIFICATE_EXPIRED]" in said.err) == (4, True), said.err
    assert "source-momentum.pem expired on 20" in said.err
    assert "Ask for a new one" in said.err
    assert said.out == ""  # before the extract was read, too

    credentials = grpc.ssl_channel_credentials(
        (certs / "ca.pem").read_bytes(), own["key"].read_bytes(), own["certificate"].read_bytes()
    )
    for service in ("linker", "pseudonymizer"):
        with grpc.secure_channel(stack.processes[service].address, credentials) as unchecked:
            with pytest.raises(grpc.RpcError) as caught:
                IntakeServiceStub(unchecked).Deliver(iter([pb.DeliverRequest()]))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE  # the handshake failed
    assert held(stack) == before


def test_certificates_of_another_ca_are_refused_by_either_side(
    stack: Stack, delivering: Deliver, tmp_path: Path
) -> None:
    before = held(stack)
    make_certificates(tmp_path / "others", ["source/prisme"])
    said = delivering(FILE, config=configured(stack, tmp_path, ca=tmp_path / "others/ca.pem"))
    assert (said.code, "[TLS_REFUSED]" in said.err) == (4, True), said.err
    assert "Check that both certificates come from the same CA" in said.err
    said = delivering(FILE, config=configured(stack, tmp_path, **party(tmp_path / "others", "source-prisme")))
    assert (said.code, "[CONNECTION_CLOSED]" in said.err) == (5, True), said.err
    assert "Check that the certificate comes from the service's CA" in said.err
    assert held(stack) == before


ROLES = {
    "linker-familie": ("NOT_A_SOURCE", "Set certificate and key in kinlink.toml to a source's."),
    "consumer-velfaerdsanalyse": ("NOT_A_SOURCE", "is not a source system's"),
}


@pytest.mark.parametrize("name", ROLES)
def test_a_certificate_of_another_role_delivers_nothing(
    stack: Stack, delivering: Deliver, tmp_path: Path, name: str
) -> None:
    before, (reason, words) = held(stack), ROLES[name]
    said = delivering(FILE, config=configured(stack, tmp_path, **party(stack.folder / "certs", name)))
    assert (said.code, f"[{reason}]" in said.err, words in said.err) == (4, True, True), said.err
    with channel(stack, name.replace("-", "/", 1)) as opened, pytest.raises(grpc.RpcError) as caught:
        IntakeServiceStub(opened).Deliver(iter([pb.DeliverRequest()]))
    error = from_rpc_error(caught.value)
    assert (error.reason, error.exit_code) == ("ACCESS_DENIED", 4)
    assert "may not do this: it is for a source system. Use a certificate of such a role, or ask" in str(error)
    assert held(stack) == before


@pytest.mark.parametrize("service", ["pseudonymizer", "linker"])
def test_a_service_that_is_down_is_named_and_running_again_delivers(
    stack: Stack, delivering: Deliver, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    monkeypatch.setattr("kinlink.delivery.deliver.IntakeClient", partial(IntakeClient, delays_s=(0.01,)))
    text = FILE.replace("98.765", "98.764" if service == "linker" else "98.763")
    before = held(stack)
    stack.stop(service)
    try:
        said = delivering(text)
        assert (said.code, "[UNREACHABLE]" in said.err) == (5, True), said.err
        assert f"The service at {stack.processes[service].address} cannot be reached." in said.err
        assert "then try again" in said.err
        assert held(stack) == before
    finally:
        stack.start(service)
    said = delivering(text)
    assert said.code == 0, said.err
    assert held(stack).snapshot == before.snapshot + 1
