"""What a rotation leaves behind, looked at from outside: holders' pseudonyms, the key store's files, what was sent."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import polars as pl

from examples.log_control import DPO
from examples.rotation import Run
from examples.stack import PEOPLE, PURPOSE, SERVICES, Stack
from kinlink import ristretto255
from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2 as pb
from kinlink.pseudonymizer.v1.pseudonymisation_service_pb2_grpc import PseudonymisationServiceStub
from kinlink.pseudonyms import Kind, Suite
from kinlink.types.v1.types_pb2 import KIND_CPR, SUITE_KINLINK_SYNTHETIC_V1, KeyRef
from tests.privacy.parties import CONVERT, EVALUATE, PLAIN, REKEY, audited, dial, refused
from tests.privacy.recording import Recorded

SOURCE = "kultur"
LINES = (f"source/{SOURCE}", f"linkage/{PURPOSE}")
_TEN_DIGITS = re.compile(rb"(?<!\d)\d{10}(?!\d)")
NUMBERS = [f"6102{year:02}4{serial:03}" for year in range(60, 70) for serial in range(10)]


# What holders have


def held_by_source(run: Run, folder: Path) -> Path:
    """Return a file in which the source keeps pseudonyms of its own."""
    plain, held = folder / "numbers.csv", folder / "held.csv"
    plain.write_text("cpr;n\n" + "".join(f"{number};{n}\n" for n, number in enumerate(NUMBERS)), encoding="utf-8")
    run(f"source/{SOURCE}", "pseudonymise", plain, "--column", "cpr", "--out", held)
    plain.unlink()
    return held


def held_under(file: Path) -> int:
    """Return the key version under which all pseudonyms of a source's file stand."""
    [version] = pl.read_csv(file, separator=";")["cpr"].str.split(".").list.get(2).unique()
    return int(version)


def everyone_has_another_pseudonym(before: pl.DataFrame, after: pl.DataFrame) -> bool:
    """Say whether the same people, and whoever came since, stand under pseudonyms of which none was there before."""
    kept = before.join(after, on=("kind", "id"), suffix="_now")
    others = set(after["pseudonym"]).isdisjoint(before["pseudonym"])
    return kept.height == before.height > 0 and others


def accepted(stack: Stack, source: str) -> list[str]:
    """Return the ids of a source's accepted deliveries."""
    said = stack.run(f"source/{source}", "deliveries", "list").stdout
    return [line.split()[0] for line in said.splitlines() if line.endswith("accepted")]


# What the key store holds


def rotated(folder: Path) -> list[dict[str, Any]]:
    """Return the first version of each rotated key line, as it stands in the state database."""
    connection = sqlite3.connect(f"file:{folder / 'state.db'}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        rows = connection.execute("SELECT * FROM pseudonymisation_keys WHERE version = 1").fetchall()
    finally:
        connection.close()
    return [dict(row) for row in rows if row["domain"] in LINES]


def sealed(folder: Path) -> dict[str, bytes]:
    """Return what is sealed of each version that is to be destroyed, by its name."""
    return {
        f"{row['domain']} {row['kind']} {column}": bytes(row[column])
        for row in rotated(folder)
        for column in ("sealed", "wrapped_key")
    }


def emptied(folder: Path) -> set[str]:
    """Return the names of what is gone from the rows of destroyed versions."""
    return {
        f"{row['domain']} {row['kind']} {column}"
        for row in rotated(folder)
        for column in ("sealed", "wrapped_key")
        if (row["state"], row[column]) == ("destroyed", None)
    }


def found_in(folder: Path, wanted: Mapping[str, bytes]) -> set[str]:
    """Return the names of what is found, byte for byte, in any file below a folder."""
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return {name for name, value in wanted.items() if any(value in content for content in contents)}


# What the old version can do


class Begun:
    """A call that was answered under the old version while it was the primary, and that is not ended yet."""

    def __init__(self, channel: grpc.Channel) -> None:
        """Begin it."""
        self._sent: SimpleQueue[pb.EvaluateRequest | None] = SimpleQueue()
        self._answers = PseudonymisationServiceStub(channel).Evaluate(iter(self._sent.get, None))
        self._element = ristretto255.hash_to_group([b"nobody"], Suite.SYNTHETIC.tag(Kind.CPR))
        self.first = self._ask(0)

    def again(self) -> bytes:
        """Send the same once more, under the old version by its number; return the answer."""
        return self._ask(1)

    def end(self) -> None:
        """End the call."""
        self._sent.put(None)
        assert list(self._answers) == []

    def _ask(self, version: int) -> bytes:
        key = KeyRef(domain=LINES[0], kind=KIND_CPR, version=version)
        self._sent.put(pb.EvaluateRequest(key=key, suite=SUITE_KINLINK_SYNTHETIC_V1, elements=self._element))
        answer = next(self._answers)
        assert answer.key.version == 1
        return bytes(answer.elements)


def refusals(stack: Stack) -> dict[str, tuple[str, str]]:
    """Try everything with the destroyed versions, past the client library; return how each was refused."""
    source, linkage = (KeyRef(domain=line, kind=KIND_CPR, version=1) for line in LINES)
    newer = [KeyRef(domain=line, kind=KIND_CPR, version=2) for line in LINES]
    element = ristretto255.hash_to_group([b"nobody"], Suite.SYNTHETIC.tag(Kind.CPR))
    evaluation = pb.EvaluateRequest(key=source, suite=SUITE_KINLINK_SYNTHETIC_V1, elements=element)

    def carry(message: type[Any], before: KeyRef, after: KeyRef) -> Any:
        return message(**{"from": before, "to": after}, elements=element)

    asked = {
        "evaluate": (f"source/{SOURCE}", EVALUATE, evaluation),
        "convert from": (f"linker/{PURPOSE}", CONVERT, carry(pb.ConvertRequest, source, newer[1])),
        "convert to": (f"linker/{PURPOSE}", CONVERT, carry(pb.ConvertRequest, newer[0], linkage)),
        "rekey": (f"source/{SOURCE}", REKEY, carry(pb.RekeyRequest, source, newer[0])),
        "rekey the linkage": (f"linker/{PURPOSE}", REKEY, carry(pb.RekeyRequest, linkage, newer[1])),
    }
    found = {}
    for what, (party, rpc, message) in asked.items():
        with dial(stack, "pseudonymizer", party) as channel:
            error = refused(channel, rpc, message)
        found[what] = (error.reason, "destroyed" if "destroyed" in str(error) else str(error))
    return found


def refused_at_all(stack: Stack) -> set[str]:
    """Return the reasons of whatever either service has refused or failed, by its log: clients try some of it again."""
    entries = [entry for service in SERVICES for entry in audited(stack, service)]
    assert len(entries) > 100
    return {entry["reason"] for entry in entries if entry["outcome"] != "ok"}


# What is told of it


def reported(run: Run, folder: Path) -> dict[str, Any]:
    """Return the data-protection officer's report of this month, with what is kept in `folder`/kept."""
    page, out = folder / "report.html", folder / "report.json"
    month, kept = f"{datetime.now(UTC):%Y-%m}", folder / "kept"
    run(DPO, "dpo", "report", "--month", month, "--kept", kept, "-o", page, "--json", out)
    found: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return found


def not_shown(report: dict[str, Any], lines: Sequence[str]) -> list[str]:
    """Say what a report does not show of rotations that are finished."""
    states = {(key["domain"], key["kind"], key["version"]): key for key in report["key_versions"]}
    changes = {change["change_id"]: change for change in report["changes"]}
    found = []
    for line in lines:
        old = states.get((line, "cpr", 1), {})
        if old.get("state") != "destroyed" or not old.get("backups_until"):
            found.append(f"{line}: the old key is {old.get('state')}, in backups until {old.get('backups_until')}")
        rotation = next((row for row in report["rotations"] if row["old"] == f"{line} cpr v1"), None)
        if rotation is None:
            found.append(f"{line}: no rotation")
            continue
        if not all(holder["attested_at"] and holder["held"] == holder["converted"] for holder in rotation["holders"]):
            found.append(f"{line}: holders {rotation['holders']}")
        if not any(holder["sample_size"] for holder in rotation["holders"]):
            found.append(f"{line}: no sample")
        taken = [changes[change_id] for change_id in rotation["changes"]]
        signed = [(c["action"], [one["signer"] for one in (c["proposal"], *c["approvals"])]) for c in taken]
        if signed != [(action, list(PEOPLE)) for action in ("activate", "destroy")]:
            found.append(f"{line}: signed {signed}")
    return found


# What was sent


def not_as_agreed(given: Recorded, sent: Mapping[str, int], municipality: Path) -> list[str]:
    """Say where the pseudonymizer was sent a CPR number, what is made of one, or more than deliveries have.

    `sent`: elements that sources had evaluated, by what their clients said.
    """
    counts = given.counts()
    found = [f"{counts[PLAIN]} calls of the plain door"] if counts[PLAIN] else []
    messages = [pb.EvaluateRequest.FromString(message) for message in given.messages(EVALUATE)]
    evaluated_by_domain: Counter[str] = Counter()
    for message in messages:
        evaluated_by_domain[message.key.domain] += len(message.elements) // ristretto255.SIZE
    if evaluated_by_domain != Counter(dict(sent)):
        found.append(f"evaluated: {evaluated_by_domain}, told: {sent}")
    numbers = pl.read_parquet(municipality / "truth/persons.parquet")["cpr"].unique().to_list() + NUMBERS
    points = ristretto255.hash_to_group([n.encode() for n in numbers], Suite.SYNTHETIC.tag(Kind.CPR))
    secret = {points[at : at + 32] for at in range(0, len(points), 32)}
    for rpc, raw in given.all():
        text = {match.decode() for match in _TEN_DIGITS.findall(raw)}
        if text & set(numbers):
            found.append(f"{rpc}: a number")
        if rpc in (EVALUATE, CONVERT, REKEY):
            kind = {EVALUATE: pb.EvaluateRequest, CONVERT: pb.ConvertRequest, REKEY: pb.RekeyRequest}[rpc]
            elements = kind.FromString(raw).elements
            if secret.intersection(elements[at : at + 32] for at in range(0, len(elements), 32)):
                found.append(f"{rpc}: the point of a number")
    return found


def send_a_number(stack: Stack) -> None:
    """Send a number to the plain door, which is closed."""
    key = KeyRef(domain=LINES[0], kind=KIND_CPR)
    message = pb.PseudonymiseRequest(key=key, suite=SUITE_KINLINK_SYNTHETIC_V1, identifiers=[NUMBERS[0]])
    with dial(stack, "pseudonymizer", LINES[0]) as channel:
        assert refused(channel, PLAIN, message).reason == "GRANT_MISSING"
