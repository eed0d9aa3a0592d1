"""Encoding keys as sources meet them: a pseudonymizer, mutual TLS, the real client, its people's commands."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import polars as pl
import pytest

from examples.rotation import Rotation
from examples.stack import PEOPLE, Stack
from kinlink.channel import open_channel
from kinlink.encoding.encode import Encoder
from kinlink.encoding.schema import find
from kinlink.encoding_key_client import EncodingKeyClient
from kinlink.errors import KinlinkError
from kinlink.key_administration_client import KeyAdministrationClient
from kinlink.pseudonymizer.v1 import encoding_key_service_pb2 as pb
from kinlink.types.v1.types_pb2 import KIND_ENCODING, KeyRef
from tests.in_process import InProcess
from tests.privacy.parties import audited
from tests.running import identity

DOMAIN, ENCODERS = "linkage/familie", ("folkeregister", "prisme")
SCHEMA, OTHER = find("dk-person-1"), find("febrl-1")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A pseudonymizer whose keys stay as they are."""
    stack = Stack(tmp_path_factory.mktemp("encoding"), encoders=ENCODERS)
    stack.prepare()
    stack.start("pseudonymizer")
    yield stack
    assert stack.stop("pseudonymizer") == 0


def channel(stack: Stack, party: str) -> grpc.Channel:
    address = stack.processes["pseudonymizer"].address
    return open_channel(address, identity(stack.folder / "certs", party.replace("/", "-")))


def fetch(stack: Stack, source: str, version: int = 0, schema_id: str = SCHEMA.id, purpose: str = "familie") -> Any:
    with channel(stack, source if "/" in source else f"source/{source}") as opened:
        return EncodingKeyClient(opened, purpose).fetch(schema_id, version)


def handed(stack: Stack, after: int) -> list[dict[str, Any]]:
    """Return the entries of handing out since the one of index `after`."""
    return [e for e in audited(stack, "pseudonymizer", after) if e["rpc"].endswith("/GetEncodingKey")]


def newest(stack: Stack) -> int:
    return int(audited(stack, "pseudonymizer")[-1]["index"])


def reason(call: Callable[[], object]) -> str:
    with pytest.raises(KinlinkError) as refused:
        call()
    return refused.value.reason


def tokens(key: Any) -> set[bytes]:
    person = {
        "given_name": "Anne Marie", "family_name": "Holm", "birth_date": "1980-01-31",
    }  # fmt: skip
    names = [field.name for field in SCHEMA.fields]
    records = pl.DataFrame({"record": ["1"], **{name: [person.get(name)] for name in names}}, strict=False)
    records = records.cast(dict.fromkeys(names, pl.String))
    return set(Encoder(SCHEMA, key).encode(records)["tokens"].explode())


def test_granted_sources_encode_alike_under_one_key_and_each_handing_out_is_logged(stack: Stack) -> None:
    before = newest(stack)
    (register, name), (prisme, _) = (fetch(stack, source) for source in ENCODERS)
    assert name == KeyRef(domain=DOMAIN, kind=KIND_ENCODING, version=1)
    assert register == prisme
    assert (register.purpose, register.version) == ("familie", 1)
    assert tokens(register) == tokens(prisme) != set()
    other, _ = fetch(stack, "prisme", schema_id=OTHER.id)
    assert other != prisme
    entries = handed(stack, before)
    told = [(e["caller"].rpartition("/")[2], e["outcome"], e["subject"], e["kind"], e["key_version"]) for e in entries]
    assert told == [(source, "ok", DOMAIN, "encoding", 1) for source in (*ENCODERS, "prisme")]


def test_wrong_callers_and_wrong_questions_are_refused_with_what_to_do(stack: Stack) -> None:
    before = newest(stack)
    assert reason(lambda: fetch(stack, "dubu")) == "GRANT_MISSING"
    assert reason(lambda: fetch(stack, "prisme", purpose="andet")) == "GRANT_MISSING"
    for party in ("linker/familie", "consumer/velfaerdsanalyse", "operator/drift", "dpo/dpo", *PEOPLE):
        assert reason(lambda party=party: fetch(stack, party)) == "ACCESS_DENIED"  # type: ignore[misc]
    assert reason(lambda: fetch(stack, "prisme", version=2)) == "KEY_VERSION_UNKNOWN"
    assert reason(lambda: fetch(stack, "prisme", schema_id="dk-person-1")) == "SCHEMA_ID_MALFORMED"
    with grpc.insecure_channel(stack.processes["pseudonymizer"].address) as plain:
        call = plain.unary_unary("/kinlink.pseudonymizer.v1.EncodingKeyService/GetEncodingKey")
        with pytest.raises(grpc.RpcError) as refused:
            call(pb.GetEncodingKeyRequest().SerializeToString(), timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    entries = handed(stack, before)
    assert {e["outcome"] for e in entries} == {"refused"}
    assert len(entries) == 4 + 4 + len(PEOPLE)


def test_an_encoding_key_is_rotated_by_encoding_anew(tmp_path: Path) -> None:
    with Stack(tmp_path, encoders=ENCODERS) as stack:
        told = InProcess(stack)
        before, _ = fetch(stack, "prisme")
        Rotation(told, DOMAIN).activate()  # all kinds, as is done each year
        assert fetch(stack, "prisme")[0] == before, "an encoding key is not rotated by the way"

        said = told(PEOPLE[0], "keys", "create", DOMAIN, "--kind", "encoding").stdout
        assert f"{DOMAIN} encoding version 2: pending" in said
        done = Rotation(told, DOMAIN).decide("activate")
        assert done
        after, name = fetch(stack, "prisme")
        assert (name.version, after.version) == (2, 2)
        assert not tokens(after) & tokens(before)
        assert reason(lambda: fetch(stack, "prisme", version=1)) == "KEY_VERSION_INACTIVE"

        status = told("dpo/dpo", "keys", "status", DOMAIN).stdout
        assert f"{DOMAIN} encoding: version 1 -> 2 (retiring)" in status
        anew = f"encodes its extracts anew, delivers them, and runs `kinlink keys encoded-anew {DOMAIN}`"
        assert f"next: source/prisme {anew}" in status
        destroy = ("keys", "propose", "destroy", DOMAIN, "--kind", "encoding", "--reason", "encoded anew", "--yes")
        with pytest.raises(subprocess.CalledProcessError) as refused:
            told(PEOPLE[0], *destroy)
        assert "linker/familie, source/folkeregister, source/prisme" in refused.value.stderr
        for source in ENCODERS:
            stated = told(f"source/{source}", "keys", "encoded-anew", DOMAIN).stdout
            assert f"attested for {DOMAIN} encoding version 1" in stated
        status = told("dpo/dpo", "keys", "status", DOMAIN).stdout
        assert len(re.findall("all encoded anew", status)) == 2
        assert "next: an operator runs `kinlink keys rekey --linker` for linker/familie" in status
        with pytest.raises(subprocess.CalledProcessError) as refused:
            told(PEOPLE[0], *destroy)
        assert "linker/familie" in refused.value.stderr
        stated = told("operator/drift", "keys", "rekey", "--linker").stdout
        assert f"{DOMAIN} encoding version 1: 0 of 0 carried over; attested" in stated
        assert "linker/familie: " in (status := told("dpo/dpo", "keys", "status", DOMAIN).stdout)
        assert "holds none any more" in status
        told(PEOPLE[0], *destroy)
        with pytest.raises(subprocess.CalledProcessError) as unknown:
            told("source/dubu", "keys", "encoded-anew", DOMAIN)
        assert "no encoding key" in unknown.value.stderr


def test_a_source_sees_the_encoding_key_and_no_other_key_of_the_purpose(stack: Stack) -> None:
    with channel(stack, "source/prisme") as opened:
        names = [key.name for key in KeyAdministrationClient(opened).keys(DOMAIN)]
    assert [(name.kind.value, name.version) for name in names] == [("encoding", 1)]
