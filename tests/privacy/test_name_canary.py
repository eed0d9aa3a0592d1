"""Names, streets, birth dates and the encoding key stay where they are typed, or handed out: found nowhere else.

Two real services over mTLS, telemetry on; people without a CPR number go down every road of `payer_roads`. Searched are
the linker's memory, store, database, logs and temporary files, the pseudonymizer's, telemetry, and what the client
leaves. That each search finds what is there is shown with a client that encodes nothing and a service that tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from examples.stack import SERVICES, Stack
from kinlink.channel import open_channel
from kinlink.encoding.encode import Encoder
from kinlink.encoding.filters import FilterMaker
from kinlink.encoding.keys import EncodingKey
from kinlink.encoding.schema import TOKENS, find
from kinlink.encoding_key_client import EncodingKeyClient
from tests.payer_town import FIELDS
from tests.privacy.canary_roads import Roads
from tests.privacy.memory import in_memory
from tests.privacy.parties import audited
from tests.privacy.payer_roads import SENT, TYPED, PayerRoads, words
from tests.privacy.recording import Recorded, recording
from tests.privacy.searcher import Finding, Searcher
from tests.privacy.test_canary import outside, start, sweep, wrapper
from tests.running import identity
from tests.telemetry.receiver import Receiver, receiving

SCHEMA = find("dk-person-1")
ENCODERS = ("folkeregister", "prisme")


def key_of(stack: Stack) -> EncodingKey:
    """Return what a source is handed to encode under."""
    address = stack.processes["pseudonymizer"].address
    with open_channel(address, identity(stack.folder / "certs", "source-prisme")) as channel:
        return EncodingKeyClient(channel, "familie").fetch(SCHEMA.id)[0]


def derived(key: EncodingKey) -> dict[str, bytes]:
    """Return the secret and all keys made of it."""
    uses = [(use, field.key) for field in SCHEMA.fields for use in ("bits", "diffusion")]
    uses += [("token", rule.name) for rule in SCHEMA.tokens]
    return {"secret": key._secret} | {" ".join(use): key.derive(SCHEMA.id, *use) for use in uses}


def encodings(key: EncodingKey) -> dict[str, bytes]:
    """Return the filters and tokens of the registered person, as it is typed."""
    typed = [TYPED[f"registered and linked: {part}"] for part in ("given name", "family name", "street")]
    row = dict(zip(FIELDS, (*typed[:2], "1887-03-29", typed[2], "77", "3 tv", "8899"), strict=True))
    [made] = Encoder(SCHEMA, key).encode(pl.DataFrame({"record": "1", **row})).rows(named=True)
    tokens = {f"token {index}": token for index, token in enumerate(made[TOKENS])}
    return tokens | {name: made[name] for name in ("given_name", "family_name", "birth_date", "street")}


def held_in_memory(stack: Stack, key: EncodingKey) -> dict[str, set[str]]:
    """Return what of the words and keys is in each service's memory."""
    pids = {service: stack.processes[service].popen.pid for service in SERVICES}
    return {service: in_memory(pid, words(), derived(key)) for service, pid in pids.items()}


@dataclass
class Passed:
    """A stack through which all people went. `sent`: to each service, RPC and message. `memory`: what was in it."""

    stack: Stack
    roads: PayerRoads
    receiver: Receiver
    key: EncodingKey
    said: str
    sent: dict[str, list[tuple[str, bytes]]]
    memory: dict[str, set[str]]
    running: list[Finding]


def capture(folder: Path, service: str) -> Path:
    """Return where the messages to a service are kept: no service's and no client's folder."""
    return folder / f"{service}.capture"


@contextmanager
def services(folder: Path) -> Iterator[tuple[PayerRoads, Receiver]]:
    """Run both services with telemetry; the registered and the payers are delivered."""
    with receiving() as receiver:
        telemetry = {service: {"otlp_endpoint": receiver.endpoint} for service in SERVICES}
        stack = Stack(folder / "stack", encoders=ENCODERS, settings=telemetry)
        roads = PayerRoads(Roads(stack, folder / "clients"))
        roads.roads.temporary.mkdir(parents=True)
        stack.prepare()
        for service in SERVICES:
            stack.start(service, wrapper=(*wrapper(stack.folder, service), *recording(capture(folder, service))))
        try:
            roads.roads.register_and_catalogue()
            roads.register()
            roads.payers()
            yield roads, receiver
        finally:
            for service in reversed(SERVICES):
                assert stack.stop(service) == 0


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Passed:
    folder = tmp_path_factory.mktemp("names")
    with services(folder) as (roads, receiver):
        stack = roads.stack
        roads.run()
        said = roads.ask_and_answer()
        roads.run()
        memory = held_in_memory(stack, key_of(stack))
        sent = {service: Recorded(stack, capture(folder, service)).all() for service in SERVICES}
        roads.by_hand()
        running = sweep(Searcher(words=words() | words(SENT)), stack)
        key = key_of(stack)
    return Passed(stack, roads, receiver, key, said, sent, memory, running)


def told(found: list[Finding]) -> str:
    return "\n".join(f"{secret}, as {form}, in {where}" for secret, form, where in found)


def everywhere(passed: Passed, searcher: Searcher) -> list[Finding]:
    found = sweep(searcher, passed.stack, passed.receiver, passed.roads.roads)
    return found + [f for where, content in passed.roads.said for f in searcher.data(where, content)]


def test_no_name_street_or_birth_date_is_found_anywhere(passed: Passed) -> None:
    states = {line.partition(": ")[2].partition(",")[0].partition(".")[0] for line in passed.said.splitlines()}
    assert {"linked", "not linked"} <= states, passed.said
    assert {service for service, _ in passed.receiver.spans()} == set(SERVICES)
    found = passed.running + everywhere(passed, Searcher(words=words()))
    assert not found, told(found)


def test_words_that_are_sent_where_none_belong_are_kept_nowhere(passed: Passed) -> None:
    reasons = {entry["reason"] for entry in audited(passed.stack, "linker") if entry["rpc"].endswith("/Deliver")}
    assert {"SCHEMA_UNKNOWN"} <= reasons
    own = "output of link"  # the id that was asked about is the caller's own
    found = [f for f in everywhere(passed, Searcher(words=words(SENT))) if f.where != own]
    assert not found, told(found)


def test_no_name_and_no_key_is_in_the_linkers_memory(passed: Passed) -> None:
    assert passed.memory["linker"] == set()
    words_only = {name for name in passed.memory["pseudonymizer"] if name not in derived(passed.key)}
    assert words_only == set()


def test_no_encoding_key_is_found_anywhere(passed: Passed) -> None:
    found = everywhere(passed, Searcher(packed=derived(passed.key)))
    assert not found, told(found)


def test_on_the_wire_are_encodings_to_the_linker_and_neither_names_nor_keys(passed: Passed) -> None:
    held = encodings(passed.key)
    seen = {service: {rpc.partition("/")[2] for rpc, _ in sent} for service, sent in passed.sent.items()}
    assert seen["linker"] >= {"Deliver", "StartRun", "ListReview", "ExplainRecords"}
    assert seen["pseudonymizer"] >= {"GetEncodingKey", "Evaluate", "Convert"}
    secrets, shown = Searcher(words=words(), packed=derived(passed.key)), Searcher(packed=held)
    found: dict[str, set[str]] = {}
    for service, sent in passed.sent.items():
        for rpc, message in sent:
            assert not (leaked := secrets.data(f"{rpc} to the {service}", message)), told(leaked)
            found.setdefault(f"{service} {rpc.partition('/')[2]}", set()).update(
                f.secret for f in shown.data("", message)
            )
    assert {where for where, names in found.items() if names} == {"linker Deliver"}
    assert found["linker Deliver"] == set(held), "what is searched for is there"


def test_encodings_are_in_the_linkers_store_and_nowhere_else(passed: Passed) -> None:
    searcher = Searcher(packed=encodings(passed.key))
    held = searcher.folder(passed.stack.folder / "linker")
    assert {finding.secret for finding in held} == set(encodings(passed.key)), "what is searched for is there"
    assert {"/".join(finding.where.split("/")[:3]) for finding in held} == {
        "store/facts/payer_encodings",
        "store/facts/person_encodings",
    }
    assert searcher.folder(passed.stack.folder / "pseudonymizer") == []
    assert searcher.folder(passed.stack.folder / "anchors") == []
    assert outside(searcher, passed.stack, passed.receiver, passed.roads.roads) == []


def plain(self: FilterMaker, values: Sequence[str]) -> NDArray[np.uint8]:
    """Return, in place of filters, each value's text; and where there is room the key."""
    size = self._field.n_bytes
    rows = [value.encode()[:size].ljust(size, b"\0") for value in values]
    if size >= 2 * len(self._key):
        rows = [row[: -len(self._key)] + self._key for row in rows]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), size)


@pytest.mark.slow
def test_a_client_that_encodes_nothing_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweeps can fail: with a client that puts values and keys where filters belong, all of them find them."""
    monkeypatch.setattr(FilterMaker, "encode", plain)
    with services(tmp_path) as (roads, _):
        roads.run()
        key = key_of(roads.stack)
        memory = held_in_memory(roads.stack, key)["linker"]
        found = {finding.secret for finding in sweep(Searcher(words=words()), roads.stack)}
        keys = {finding.secret for finding in sweep(Searcher(packed=derived(key)), roads.stack)}
    names = {"normalised", "of nobody: given name"}
    assert found >= names
    assert memory >= names
    assert keys == memory & set(derived(key)) == {"bits street"}


def test_a_service_that_tells_a_name_is_caught(tmp_path: Path) -> None:
    word = TYPED["registered and linked: family name"]
    with receiving() as receiver:
        stack = Stack(tmp_path, settings={"pseudonymizer": {"otlp_endpoint": receiver.endpoint}})
        start(stack, "pseudonymizer", leak=("structlog", word))
        stack.stop("pseudonymizer")
    found = {finding.where for finding in sweep(Searcher(words={"it": word}), stack, receiver)}
    assert {Path(where.partition(":")[0]).name for where in found} >= {"pseudonymizer.log"}
    assert any(where.startswith("OTLP") for where in found)


@pytest.mark.parametrize("code", ["utf-8", "utf-16-le", "cp1252"])
def test_the_searcher_finds_a_word_in_every_form(code: str) -> None:
    searcher = Searcher(words={"it": "Zybrandtsøn"})
    assert searcher.data("here", json.dumps({"event": "no Zybrandtsøn"}))
    for text in ("zybrandtsøn", "ZYBRANDTSøN", "her Zybrandtsøn bor"):
        assert searcher.data("here", b"before" + text.encode(code) + b"after"), text
    assert searcher.data("here", "Zybrandtsøn".encode().hex())
    assert not searcher.data("here", "Zybrandtson".encode(code))
