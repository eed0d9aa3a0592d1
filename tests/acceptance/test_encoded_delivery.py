"""Names, birth dates and addresses from a source's file to the linker as encodings: two processes, mutual TLS."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from examples.rotation import Rotation
from examples.stack import PEOPLE, Stack
from kinlink.blinding import Progress, unreported
from kinlink.cli.__main__ import run
from kinlink.client_config import ClientConfig
from kinlink.delivery.answers import deliver_answers
from kinlink.delivery.deliver import Doors, Sent, send
from kinlink.delivery.errors import ExtractError
from kinlink.delivery.examine import examine
from kinlink.delivery.mapping_file import load
from kinlink.delivery.period import Period
from kinlink.errors import UnavailableError
from kinlink.intake_client import IntakeClient
from kinlink.linker.v1 import intake_service_pb2 as pb
from tests.acceptance.proxy import proxy
from tests.in_process import InProcess
from tests.unit.delivery.extracts import (
    PAYER_HEADER,
    PAYERS,
    PERSON_HEADER,
    PERSONS,
    TWIN_POSTINGS,
    extract_file,
    mapping_file,
    payer,
)

REGISTER, PRISME = "source/folkeregister", "source/prisme"
NAMES = ("Rosalil", "Månestråle", "Vandmøllevej")
LINES = payer("1") + payer("2", "610180AB12", born="") + payer("3", "6101800010") + payer("4", "12345678")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("encoded"), encoders=("folkeregister", "prisme")) as started:
        yield started


@pytest.fixture
def extract(tmp_path: Path) -> Path:
    return extract_file(tmp_path, PAYER_HEADER + LINES)


def told(folder: Path, name: str, text: str) -> Path:
    place = folder / name
    place.mkdir()
    return mapping_file(place, text)


def answer(said: subprocess.CompletedProcess[str], label: str) -> str:
    return next(line.split(label, 1)[1].strip() for line in said.stdout.splitlines() if line.startswith(f"  {label}"))


def test_the_register_and_a_source_deliver_encodings_once(stack: Stack, tmp_path: Path, extract: Path) -> None:
    register = extract_file(
        tmp_path, PERSON_HEADER + "6101800010;Rosalil;19800503;Vandmøllevej;\n6201800012;Karl;19800102;Skovvej;1\n",
        encoding="utf-8", name="navne.csv",
    )  # fmt: skip
    for party, name, text, file in (
        (REGISTER, "persons", PERSONS, register),
        (PRISME, "payers", PAYERS, extract),
        (PRISME, "postings", TWIN_POSTINGS, extract),
    ):
        command = ("deliver", "--mapping", told(tmp_path, name, text), "--period", "2014", file)
        first = stack.run(party, *command)
        assert "accepted, snapshot" in answer(first, "delivery")
        keys = {"persons": "cpr 1, encoding 1", "payers": "encoding 1", "postings": "cpr 1, replacement 1"}
        assert answer(first, "key versions") == keys[name]
        again = InProcess(stack)(party, *command)
        assert answer(again, "delivery") == answer(first, "delivery").replace("accepted", "already accepted")
        shown = first.stdout + first.stderr + again.stdout + again.stderr
        assert not any(name in shown for name in NAMES)
        if name == "payers":
            assert answer(first, "to deliver") == "2 rows"
            assert answer(first, "birth_date") == "usable in 2 (100.0%)"
            assert answer(first, "floor_door") == "usable in 0 (0.0%)"
            assert answer(first, "nothing usable") == "0 (0.0%), linked to nobody"
    lists = InProcess(stack)(PRISME, "deliveries", "list").stdout.splitlines()
    assert sorted(line.split()[1] for line in lists) == ["payer_encodings", "postings"]
    for file in (stack.folder / "linker").rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert not any(name.encode(form) in content for name in NAMES for form in ("utf-8", "latin-1"))


def test_a_dry_run_needs_no_key_and_a_delivery_names_what_is_missing(
    stack: Stack, tmp_path: Path, extract: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "kinlink.toml"
    lines = stack.client(PRISME).read_text().splitlines(keepends=True)
    config.write_text("".join(line for line in lines if not line.startswith("purpose")))
    mapping = told(tmp_path, "payers", PAYERS)
    command = ["deliver", "--mapping", str(mapping), "--period", "2013", str(extract), "--config"]
    assert run([*command, str(config), "--dry-run"]) == 0
    assert "nothing was sent" in capfd.readouterr().out
    assert run([*command, str(config)]) == 3
    assert "[PURPOSE_MISSING]" in capfd.readouterr().err
    assert run([*command, str(stack.client("source/dubu"))]) == 4  # not granted
    said = capfd.readouterr()
    assert "[GRANT_MISSING]" in said.err
    assert not any(name in said.out + said.err for name in NAMES)


def test_an_extract_whose_payers_all_have_numbers_is_delivered_empty(stack: Stack, tmp_path: Path) -> None:
    extract = extract_file(tmp_path, PAYER_HEADER + payer("1", "6101800010"))
    said = InProcess(stack)(
        PRISME, "deliver", "--mapping", told(tmp_path, "payers", PAYERS), "--period", "2011", extract
    )
    assert answer(said, "to deliver") == "0 rows"
    assert "accepted, snapshot" in answer(said, "delivery")


def doors(stack: Stack, linker: str = "") -> Doors:
    config = ClientConfig.load(stack.client(PRISME))
    if linker:
        config = ClientConfig(config.pseudonymizer, linker, config.identity, config.suite, purpose=config.purpose)
    return Doors("prisme", config.suite, config.pseudonymizer_channel(), config.linker_channel(), config.purpose)


def deliver(opened: Doors, mapping: Path, extract: Path, upload: Progress, period: str = "2014-03") -> Sent:
    found, covered = load(mapping), Period.parse(period)
    examination = examine([extract], found, covered, unreported, synthetic=True)
    try:
        return send(
            examination, [extract], found, covered, opened, lambda name: upload if name == "upload" else unreported
        )
    finally:
        opened.pseudonymizer.close()
        opened.linker.close()


def test_a_delivery_whose_connection_is_cut_goes_on_with_the_same_encodings(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "".join(payer(f"N{number}", house=str(number % 200)) for number in range(30_000))
    extract, mapping = extract_file(tmp_path, PAYER_HEADER + lines), told(tmp_path, "payers", PAYERS)
    sent: list[int] = []
    beside = doors(stack)

    def held() -> pb.Delivery:
        deliveries = IntakeClient(beside.linker).list()
        return next((found for found in deliveries if found.period == "2014-03"), pb.Delivery())

    with proxy(stack.processes["linker"].address) as carried:

        def cut(done: int, _total: int) -> None:
            waited = threading.Event()
            while done == 2 and not held().chunks_received:
                waited.wait(0.01)
            if done == 2:
                carried.cut()

        with monkeypatch.context() as patched:
            patched.setattr("kinlink.delivery.deliver.IntakeClient", partial(IntakeClient, delays_s=()))
            with pytest.raises(UnavailableError):
                deliver(doors(stack, carried.address), mapping, extract, cut)
        broken = held()
        assert broken.state == pb.DELIVERY_STATE_RECEIVING
        assert broken.chunks_received > 0
        done = deliver(doors(stack, carried.address), mapping, extract, lambda done, _: sent.append(done))
    assert done.receipt.delivery.delivery_id == broken.delivery_id
    assert (done.receipt.delivery.state, done.receipt.delivery.rows) == (pb.DELIVERY_STATE_ACCEPTED, 30_000)
    assert sent[0] > broken.chunks_received  # the linker may have written another by then
    beside.pseudonymizer.close()
    beside.linker.close()


def test_answers_are_delivered_as_any_extract(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    path.write_text("encoding_id;cpr\n1;610180-0010\n2;\n")
    opened = doors(stack)
    sent = deliver_answers(path, "2014", opened, lambda _name: unreported)
    assert (sent.receipt.delivery.dataset, sent.receipt.delivery.rows) == (pb.DATASET_REVIEW_ANSWERS, 2)
    assert deliver_answers(path, "2014", opened, lambda _name: unreported).receipt.already
    path.write_text("encoding_id;cpr\n1;6101800010\n1;\n;6101800010\n3;6130020010\n")
    with pytest.raises(ExtractError, match=r"row 3, encoding_id: expected an id .* row 4, .* row 5, cpr") as refused:
        deliver_answers(path, "2014", opened, lambda _name: unreported)
    assert "6130" not in str(refused.value)
    opened.pseudonymizer.close()
    opened.linker.close()


def test_a_key_that_is_rotated_while_a_delivery_is_made_is_fetched_anew(
    stack: Stack, tmp_path: Path, extract: Path
) -> None:
    run_as, mapping = InProcess(stack), told(tmp_path, "payers", PAYERS)
    run_as(PEOPLE[0], "keys", "create", "linkage/familie", "--kind", "encoding")
    rotated: list[str] = []

    def stages(name: str) -> Progress:
        if name == "upload" and not rotated:
            rotated.append(Rotation(run_as, "linkage/familie").decide("activate"))
        return unreported

    found, opened = load(mapping), doors(stack)
    examination = examine([extract], found, Period.parse("2012"), unreported, synthetic=True)
    sent = send(examination, [extract], found, Period.parse("2012"), opened, stages)
    assert [key.version for key in sent.keys] == [2]
    assert sent.receipt.delivery.state == pb.DELIVERY_STATE_ACCEPTED
    opened.pseudonymizer.close()
    opened.linker.close()
