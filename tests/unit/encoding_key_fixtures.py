"""A key store with encoding keys, sources that may and may not encode, and what hands the keys out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from kinlink.pseudonyms import Kind
from pseudonymizer.encoding_keys import EncodingKeys, HandedOut
from pseudonymizer.keyset import KeyName
from pseudonymizer.ledger import Ledger
from pseudonymizer.lifecycle import KeyState
from pseudonymizer.policy import Policy
from pseudonymizer.rotations import Rotations, Statement
from servicekit.audit import AuditLog
from servicekit.identity import Caller, Role
from tests.unit import key_fixtures as given

SCHEMA, OTHER_SCHEMA = "dk-person-1.0123456789abcdef", "dk-person-2.0123456789abcdef"
LINKAGE = "linkage/familie"
FIRST, SECOND, ACTIVE = (KeyName(LINKAGE, Kind.ENCODING, version) for version in (1, 2, 0))
PRISME, REGISTER, DUBU = (
    Caller(f"spiffe://kinlink.test/source/{name}", Role.SOURCE, name) for name in ("prisme", "folkeregister", "dubu")
)
_CPR = {"kinds": ["cpr"]}
POLICY = Policy.model_validate(
    {
        "suites": ["synthetic"],
        "domain": [
            *({"name": f"source/{name}", **_CPR} for name in ("prisme", "folkeregister", "dubu")),
            {"name": LINKAGE, "kinds": ["cpr", "encoding"]},
            {"name": "linkage/andet", "kinds": ["encoding"]},
        ],
        "grant": [
            *(
                {"name": f"{name} encodes", "caller": f"source/{name}", "operation": "encode", "domain": LINKAGE}
                | {"kinds": ["encoding"]}
                for name in ("prisme", "folkeregister")
            ),
            {"name": "dubu", "caller": "source/dubu", "operation": "evaluate", "domain": "source/dubu", **_CPR},
            {"name": "links", "caller": "linker/familie", "operation": "convert", "from": ["source/dubu"]}
            | {"to": LINKAGE, **_CPR},
            {"name": "rekeys", "caller": "linker/familie", "operation": "rekey", "domain": LINKAGE, **_CPR},
        ],
        "budget": [
            {"caller": caller, "per_day": 50, "per_year": 500}
            for caller in ("source/prisme", "source/folkeregister", "source/dubu", "linker/familie")
        ],
    }
)


class Place:
    """One key store and what hands its keys out."""

    def __init__(self, engine: Engine, folder: Path | None = None) -> None:
        self.engine = engine
        self.store = given.keystore(engine, POLICY, folder)
        self.audit = AuditLog(engine)
        self.ledger = Ledger(engine, self.audit, lambda: datetime.now(UTC).date())
        self.keys = EncodingKeys(POLICY, self.store, self.ledger)
        self.rotations = Rotations(engine, POLICY, self.store, self.audit)

    def fetch(self, caller: Caller = PRISME, wanted: KeyName = ACTIVE, schema: str = SCHEMA) -> HandedOut:
        return self.keys.hand_out(caller, wanted, schema)

    def rotate(self) -> None:
        given.rotate(self.store, FIRST)

    def attest(self, caller: Caller, name: KeyName = FIRST, to: KeyName | None = None, held: int = 0) -> None:
        self.rotations.attest(caller, Statement(name, to, held, held))

    def states(self) -> list[KeyState]:
        return [v.state for v in self.store.current()[0] if v.line == (LINKAGE, Kind.ENCODING)]

    def told(self) -> list[tuple[object, ...]]:
        """Return what the log says of calls: caller, outcome, reason, domain, kind, version, count, grant, evidence."""
        columns = ("outcome", "reason", "subject", "kind", "key_version", "count", "grant", "evidence")
        entries = [e for e in self.audit.entries() if e["rpc"].endswith("/GetEncodingKey")]
        return [tuple(entry[column] for column in ("caller", *columns)) for entry in entries]
