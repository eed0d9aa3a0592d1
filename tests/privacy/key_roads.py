"""The roads to the keys' and the logs' own RPCs, by which a CPR number or a secret could get into a log.

People write reasons and file names; documents and notes are free bytes. Each canary is a number of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from kinlink.approval_keys import read_key
from kinlink.approvals import Verb, sign
from kinlink.audit.v1 import audit_service_pb2 as audit_pb
from kinlink.audit.v1.audit_service_pb2_grpc import AuditServiceStub, WitnessServiceStub
from kinlink.change_document import canonical
from kinlink.linker.v1 import rekeying_service_pb2 as rekeying_pb
from kinlink.linker.v1.rekeying_service_pb2_grpc import RekeyingServiceStub
from kinlink.pseudonymizer.v1 import encoding_key_service_pb2 as encoding_pb
from kinlink.pseudonymizer.v1 import key_administration_service_pb2 as keys_pb
from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2 as pseudonymisation_pb
from kinlink.pseudonymizer.v1.encoding_key_service_pb2_grpc import EncodingKeyServiceStub
from kinlink.pseudonymizer.v1.key_administration_service_pb2_grpc import KeyAdministrationServiceStub
from kinlink.pseudonymizer.v1.pseudonymisation_service_pb2_grpc import PseudonymisationServiceStub
from kinlink.types.v1 import types_pb2
from tests.privacy.canary_roads import Roads, spread

KEY_CANARIES: Final[Mapping[str, str]] = {
    road: f"{60 + 1 + index:02}0966{4700 + index:04}"
    for index, road in enumerate(
        (
            "reason", "reason, spread", "change id", "document id", "document field", "document form", "document, raw",
            "signer name", "log name", "key domain of a change", "store", "new key", "listed domain", "approved change",
            "applied change", "rekeyed from", "rekeyed elements", "attested from", "sample", "held",
            "rekeying request", "rekeying id", "note", "note's origin", "consistency",
            "encoding domain", "schema id", "schema id, spread", "digest of a schema",
        )
    )
}  # fmt: skip
_CUSTODIAN = "custodian/noegle-1"


def key_roads(roads: Roads) -> None:
    """Put canaries in all fields of key administration, rekeying, attestation and the logs."""
    _documents(roads)
    _names(roads)
    _rekeying(roads)
    _encoding(roads)
    _logs(roads)


def document(roads: Roads, proposer: str = _CUSTODIAN, **changes: Any) -> tuple[bytes, bytes]:
    """Return a document that marks a version compromised which is not there, with changes, and its signature."""
    now = datetime.now(UTC).replace(microsecond=0)
    fields = {
        "form": "kinlink-change-v1", "change_id": str(uuid4()), "log": "kinlink.test/pseudonymizer",
        "action": "compromise", "keys": [{"domain": "source/prisme", "kind": "cpr", "version": 99}],
        "reason": "a laptop is gone", "proposer": proposer, "created_at": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "expires_at": (now + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }  # fmt: skip
    content = canonical(fields | changes)
    key = read_key(roads.stack.approval_key(_CUSTODIAN), lambda: "")
    return content, sign(key, Verb.PROPOSE, proposer, content)


def _documents(roads: Roads) -> None:
    canary = KEY_CANARIES
    keys = [{"domain": f"source/{canary['key domain of a change']}", "kind": "cpr", "version": 1}]
    sent = {
        "reason": document(roads, reason=f"lost with {canary['reason']}"),
        "document id": document(roads, change_id=canary["document id"]),
        "document field": document(roads, **{f"x{canary['document field']}": canary["document field"]}),
        "document form": document(roads, form=canary["document form"]),
        "signer name": document(roads, proposer=f"custodian/{canary['signer name']}"),
        "log name": document(roads, log=f"c{canary['log name']}.test/pseudonymizer"),
        "key domain of a change": document(roads, keys=keys),
        "store": document(roads, action="restore", keys=None, store={"generation": canary["store"]}),
        "document, raw": (json.dumps([canary["document, raw"]]).encode(), b"x"),
        "no such version": document(roads),
    }
    for index, text in enumerate(spread(canary["reason, spread"])):
        sent[f"reason, spread {index}"] = document(roads, reason=f"lost with {text}, sorry")
    with roads.channel("pseudonymizer", "custodian-noegle-1") as channel:
        stub = KeyAdministrationServiceStub(channel)
        for road, (content, signature) in sent.items():
            request = keys_pb.ProposeChangeRequest(document=content, signature=signature)
            roads.ask(road, lambda request=request: stub.ProposeChange(request))


def _names(roads: Roads) -> None:
    canary = KEY_CANARIES
    with roads.channel("pseudonymizer", "custodian-noegle-1") as channel:
        stub = KeyAdministrationServiceStub(channel)
        approve = keys_pb.ApproveChangeRequest(change_id=canary["approved change"], signature=bytes(64))
        roads.ask("approved change", lambda: stub.ApproveChange(approve))
        apply = keys_pb.ApplyChangeRequest(change_id=canary["applied change"])
        roads.ask("applied change", lambda: stub.ApplyChange(apply))
        listed = keys_pb.ListChangesRequest(change_id=canary["change id"])
        roads.ask("change id", lambda: stub.ListChanges(listed))
        key = types_pb2.KeyRef(domain=f"source/{canary['new key']}", kind=types_pb2.KIND_CPR)
        roads.ask("new key", lambda: stub.CreateKey(keys_pb.CreateKeyRequest(key=key)))
        domain = keys_pb.ListKeysRequest(domain=f"source/{canary['listed domain']}")
        roads.ask("listed domain", lambda: stub.ListKeys(domain))
        roads.ask("all keys", lambda: stub.ListKeys(keys_pb.ListKeysRequest()))
        roads.ask("all changes", lambda: stub.ListChanges(keys_pb.ListChangesRequest()))
        roads.ask("all signers", lambda: stub.ListSigners(keys_pb.ListSignersRequest()))
        roads.ask("the policy", lambda: stub.GetPolicy(keys_pb.GetPolicyRequest()))
        roads.ask("all rotations", lambda: stub.ListRotations(keys_pb.ListRotationsRequest()))


def _rekeying(roads: Roads) -> None:
    canary = KEY_CANARIES
    own = types_pb2.KeyRef(domain="source/prisme", kind=types_pb2.KIND_CPR, version=1)
    target = types_pb2.KeyRef(domain="source/prisme", kind=types_pb2.KIND_CPR)
    with roads.channel("pseudonymizer", "source-prisme") as channel:
        stub, administration = PseudonymisationServiceStub(channel), KeyAdministrationServiceStub(channel)
        foreign = types_pb2.KeyRef(domain=f"source/{canary['rekeyed from']}", kind=types_pb2.KIND_CPR, version=1)
        padded = canary["rekeyed elements"].encode().ljust(32, b"\0")
        for road, source in (("rekeyed from", foreign), ("rekeyed elements", own)):
            request = pseudonymisation_pb.RekeyRequest(**{"from": source, "to": target}, elements=padded)
            roads.ask(road, lambda request=request: list(stub.Rekey(iter([request]))))
        strange = types_pb2.KeyRef(domain=f"source/{canary['attested from']}", kind=types_pb2.KIND_CPR, version=1)
        sample = canary["sample"].encode().ljust(32, b"\0")
        held = int(canary["held"])
        for road, fields in (
            ("attested from", {"from": strange}),
            ("sample", {"from": own, "to": target, "sample_from": sample, "sample_to": sample}),
            ("held", {"from": own, "held": held, "converted": held + 1}),
        ):
            attest = keys_pb.AttestRekeyingRequest(**fields)
            roads.ask(road, lambda attest=attest: administration.AttestRekeying(attest))
    with roads.channel("linker", "operator-drift") as channel:
        rekeying = RekeyingServiceStub(channel)
        start = rekeying_pb.StartRekeyingRequest(request_id=canary["rekeying request"])
        roads.ask("rekeying request", lambda: rekeying.StartRekeying(start))
        get = rekeying_pb.GetRekeyingRequest(rekeying_id=canary["rekeying id"])
        roads.ask("rekeying id", lambda: rekeying.GetRekeying(get))
        watch = rekeying_pb.WatchRekeyingRequest(rekeying_id=canary["rekeying id"])
        roads.ask("rekeying id", lambda: list(rekeying.WatchRekeying(watch)))


def _encoding(roads: Roads) -> None:
    canary = KEY_CANARIES
    own, digest = types_pb2.KeyRef(domain="linkage/familie", kind=types_pb2.KIND_ENCODING), "0123456789abcdef"
    strange = types_pb2.KeyRef(domain=f"linkage/{canary['encoding domain']}", kind=types_pb2.KIND_ENCODING)
    asked = [
        ("encoding domain", strange, f"dk-person-1.{digest}"),
        ("schema id", own, f"p{canary['schema id']}.{digest}"),
    ]
    asked += [("schema id, spread", own, f"p{text}.{digest}") for text in spread(canary["schema id, spread"])]
    asked.append(("digest of a schema", own, f"p.{canary['digest of a schema']}"))
    with roads.channel("pseudonymizer", "source-prisme") as channel:
        stub = EncodingKeyServiceStub(channel)
        for road, key, schema_id in asked:
            request = encoding_pb.GetEncodingKeyRequest(key=key, schema_id=schema_id)
            roads.ask(road, lambda request=request: stub.GetEncodingKey(request))


def _logs(roads: Roads) -> None:
    canary = KEY_CANARIES
    origin = canary["note's origin"]
    for service in ("pseudonymizer", "linker"):
        with roads.channel(service, "service-linker") as channel:
            stub = WitnessServiceStub(channel)
            for note in (canary["note"], f"c{origin}.test/linker\n1\nAAAA\n\n"):
                add = audit_pb.AddCheckpointRequest(
                    old_size=1, consistency=[canary["consistency"].encode().ljust(32, b"\0")], note=note
                )
                roads.ask("note", lambda stub=stub, add=add: stub.AddCheckpoint(add))
        with roads.channel(service, "dpo-dpo") as channel:
            log = AuditServiceStub(channel)
            roads.ask(f"log of the {service}", lambda log=log: list(log.ListEntries(audit_pb.ListEntriesRequest())))
            checkpoints = audit_pb.ListCheckpointsRequest()
            roads.ask("checkpoint", lambda log=log: log.GetCheckpoint(audit_pb.GetCheckpointRequest()))
            roads.ask("checkpoints", lambda log=log, all_=checkpoints: list(log.ListCheckpoints(all_)))
