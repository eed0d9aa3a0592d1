"""`kinlink deliver` and `kinlink pseudonymise` as a source's owner runs them, against real services.

Tables of failures run in this process, through the command's own `run`; what is shown once
more as a process shows that this is the same.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from examples.stack import Stack
from kinlink.cli.__main__ import run
from kinlink.client import Client
from tests.unit.delivery.extracts import HEADER, POSTINGS, SOUND, extract_file, mapping_file

PRISME = "source/prisme"
STRICT = POSTINGS.replace("max_rejected_share = 1.0", "max_rejected_share = 0.1")


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a source's kinlink.toml and certificates; nothing serves there."""
    stack = Stack(tmp_path_factory.mktemp("offline"))
    stack.prepare()
    folder = stack.folder
    (folder / "kinlink.toml").write_text(
        'pseudonymizer = "127.0.0.1:1"\nlinker = "127.0.0.1:1"\nca = "certs/ca.pem"\nsuite = "synthetic"\n'
        'certificate = "certs/source-prisme.pem"\nkey = "certs/source-prisme.key"\n'
    )
    return folder


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("deliver")) as started:
        yield started


def kinlink(config: Path, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    stack = Stack(config.parent)
    return subprocess.run(
        stack.command(*arguments, "--config", config),
        capture_output=True,
        text=True,
        check=False,
        env={**stack.environment(PRISME), **environment},
    )


def test_a_dry_run_reads_everything_and_calls_nobody(offline: Path, tmp_path: Path) -> None:
    extract = extract_file(tmp_path, HEADER + SOUND * 3 + SOUND.replace("05-03", "31-02"))
    ran = kinlink(
        offline / "kinlink.toml", "deliver", "--mapping", mapping_file(tmp_path), "--period", "2014", extract,
        "--source", "prisme", "--dry-run",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "rows read      4" in ran.stdout
    assert "1 x not_a_date in Dato" in ran.stdout
    assert "nothing was sent" in ran.stdout
    assert ran.stderr == ""
    rejects = (tmp_path / "extract.postings.rejects.csv").read_text().splitlines()
    assert rejects == ["file;row;column;reason;expected", "extract.csv;5;Dato;not_a_date;a date written dd-mm-yyyy"]


def test_bars_on_a_terminal_do_not_run_into_the_text(offline: Path, tmp_path: Path) -> None:
    extract = extract_file(tmp_path, HEADER + SOUND)
    told = ("deliver", "--mapping", mapping_file(tmp_path), "--period", "2014", extract, "--dry-run")
    stack = Stack(offline)
    command = stack.command(*told, "--config", offline / "kinlink.toml")
    ours, theirs = pty.openpty()
    environment = {**stack.environment(PRISME), "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as popen:
        os.close(theirs)
        shown = b"".join(iter(lambda: _read(ours), b"")).decode()
    os.close(ours)
    assert popen.returncode == 0, shown
    assert "read " in shown
    assert re.search(r"\n(?:\r|\x1b\[[0-9;?]*[A-Za-z])*extract\.csv -> ", shown), shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux's word for: the other side has closed it
        return b""


@pytest.mark.parametrize(
    ("text", "mapping", "arguments", "code", "says"),
    [
        (HEADER + SOUND, POSTINGS, ("--period", "2014", "--source", "dubu"), 4, "certificate is prisme's, not dubu's"),
        (HEADER + SOUND, 'source = "dubu"' + POSTINGS, ("--period", "2014"), 4, "mapping.toml is for dubu, and"),
        (HEADER + SOUND, POSTINGS, (), 3, "give --period"),
        (HEADER + SOUND, POSTINGS, ("--period", "20x4"), 3, "YYYY"),
        (HEADER + SOUND, POSTINGS, ("--perod", "2014"), 2, "No such option"),
        (HEADER + SOUND, POSTINGS.replace("dataset", "datasett"), ("--period", "2014"), 3, "lacks dataset"),
        (SOUND, POSTINGS, ("--period", "2014"), 3, "[MISSING_COLUMN]"),
        (HEADER + SOUND[:-9], POSTINGS, ("--period", "2014"), 3, "[TRUNCATED]"),
        (HEADER + SOUND.replace("100;", "999;"), POSTINGS, ("--period", "2014"), 3, "[UNKNOWN_CODE]"),
        (HEADER + SOUND.replace("05-", "99-"), STRICT, ("--period", "2014"), 7, "[TOO_MANY_REJECTS]"),
        (HEADER + SOUND, POSTINGS, ("--period", "2014"), 5, "cannot be reached"),
    ],
)  # fmt: skip
def test_a_failure_has_its_own_code_and_a_sentence(
    offline: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    text: str,
    mapping: str,
    arguments: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    extract, told = extract_file(tmp_path, text), mapping_file(tmp_path, mapping)
    config = offline / "kinlink.toml"
    ended = run(["deliver", "--mapping", str(told), "--config", str(config), str(extract), *arguments])
    said = capfd.readouterr()
    assert (ended, says in said.err) == (code, True), said.err
    assert "Traceback" not in said.err
    assert not any(value in said.out + said.err for value in ("610180", "1.234,56"))


def test_a_fault_of_kinlink_shows_a_place_and_no_value(
    offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("6101800010")

    monkeypatch.setattr("kinlink.cli.deliver.examine", fail)
    extract, mapping = extract_file(tmp_path, HEADER + SOUND), mapping_file(tmp_path)
    command = ["deliver", "--mapping", str(mapping), "--period", "2014", str(extract)]
    for debug in ("", "1"):
        monkeypatch.setenv("KINLINK_DEBUG", debug)
        assert run([*command, "--config", str(offline / "kinlink.toml")]) == 1
        said = capfd.readouterr().err
        assert "internal error (ValueError)" in said
        assert ("deliver.py" in said) is bool(debug)
        assert "6101800010" not in said


def test_a_failing_process_ends_with_its_code(offline: Path, tmp_path: Path) -> None:
    extract, mapping = extract_file(tmp_path, SOUND), mapping_file(tmp_path)
    ran = kinlink(offline / "kinlink.toml", "deliver", "--mapping", mapping, "--period", "2014", extract)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr.startswith("kinlink: extract.csv lacks the columns")


@pytest.mark.parametrize(
    ("content", "says"),
    [("", "lacks pseudonymizer"), ("=", "not TOML"), ("colour = 'x'", "lacks"), (None, "cannot be read")],
)
def test_a_wrong_configuration_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: str | None, says: str
) -> None:
    config = tmp_path / "kinlink.toml"
    if content is not None:
        config.write_text(content)
    assert run(["deliveries", "list", "--config", str(config)]) == 3
    assert says in capfd.readouterr().err


COMMANDS = (
    "", "deliver", "pseudonymise", "deliveries", "deliveries list", "deliveries withdraw", "link", "link run",
    "link status", "table", "table list", "table get", "release", "release show", "dev", "dev certs", "serve",
)  # fmt: skip


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], command: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert run([*command.split(), "--help"]) == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert f"Usage: kinlink {command}".rstrip() in said.out
    assert f"Example: kinlink {command}".rstrip() in said.out
    assert max(map(len, said.out.splitlines())) <= width
    if command == "pseudonymise":  # no sign of the text is taken for markup
        assert "kl1.<domain>.<version>.<base64url>" in said.out


def test_a_delivery_is_accepted_once_replaced_and_withdrawn(stack: Stack, tmp_path: Path) -> None:
    mapping = mapping_file(tmp_path)
    first, second = (extract_file(tmp_path, HEADER + SOUND * n, name=f"{n}.csv") for n in (2, 3))

    def deliver(extract: Path) -> str:
        ran = stack.run(PRISME, "deliver", "--mapping", mapping, "--period", "2014", extract)
        return next(line.split(maxsplit=1)[1] for line in ran.stdout.splitlines() if line.startswith("  delivery"))

    accepted = deliver(first)
    assert "accepted, snapshot" in accepted
    assert deliver(first) == accepted.replace("accepted", "already accepted")
    replacing = deliver(second)
    assert replacing.split()[0] != accepted.split()[0]
    again = deliver(first)  # replaced since, so it is a new delivery
    assert again.split()[0] not in (accepted.split()[0], replacing.split()[0])
    stack.run(PRISME, "deliveries", "withdraw", again.split()[0])
    states = [line.split()[-1] for line in stack.run(PRISME, "deliveries", "list").stdout.splitlines()]
    assert states == ["withdrawn", "replaced", "replaced"]


def test_a_source_delivers_only_what_is_its_own(stack: Stack, tmp_path: Path) -> None:
    mapping = mapping_file(
        tmp_path,
        'dataset = "aliases"\nfile = { encoding = "utf-8" }\n[columns]\nformer.from = "a"\ncurrent.from = "b"\n',
    )
    extract = extract_file(tmp_path, "a;b\n6101800010;6201800012\n")
    ran = stack.run(PRISME, "deliver", "--mapping", mapping, "--period", "2014", extract, check=False)
    assert ran.returncode == 4
    assert "DATASET_NOT_ALLOWED" in ran.stderr


def test_a_file_is_pseudonymised_as_text_and_as_bytes(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("cpr;x\n610180-0010;1\n;2\n6130020010;3\n'6101800010;4\n")
    told = ("pseudonymise", tmp_path / "in.csv", "--column", "cpr")
    ran = stack.run(PRISME, *told, "--out", tmp_path / "out.csv", check=False)
    assert ran.returncode == 7
    assert not (tmp_path / "out.csv").exists()
    for out in ("out.csv", "out.parquet"):
        stack.run(PRISME, *told, "--out", tmp_path / out, "--rejects", tmp_path / "rejects.csv")
    written = pl.read_csv(tmp_path / "out.csv", separator=";")
    packed = pl.read_parquet(tmp_path / "out.parquet")
    assert written["x"].to_list() == [1, 2, 4]
    assert written["cpr"][0] == written["cpr"][2]
    assert written["cpr"][0].startswith("kl1.source/prisme.1.")
    assert written["cpr"][1] is None
    assert packed["cpr"].bin.size().to_list() == [32, None, 32]
    assert pl.read_csv(tmp_path / "rejects.csv", separator=";")["row"].to_list() == [4]
    assert "613002" not in (tmp_path / "rejects.csv").read_text()


def test_the_python_client_takes_and_returns_frames(stack: Stack, tmp_path: Path) -> None:
    with Client.from_config(stack.client("source/dubu")) as client:
        frame = client.pseudonymise(pl.DataFrame({"cpr": ["610180-0010", None]}), "cpr")
        sent = client.deliver([extract_file(tmp_path, HEADER + SOUND)], mapping_file(tmp_path), "2014")
    assert frame.schema == {"cpr": pl.Binary()}
    assert sent.receipt.delivery.rows == 1
