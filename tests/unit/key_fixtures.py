"""Key stores for tests, a key-encryption key in a file beside the database as in development; and one to rotate."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from kinlink import ristretto255
from kinlink.pseudonyms import Kind, Suite
from pseudonymizer.doors import Doors
from pseudonymizer.keyset import KeyName
from pseudonymizer.keystore.encryption_keys import open_key_encryption_key
from pseudonymizer.keystore.store import KeyStore, is_empty
from pseudonymizer.ledger import Ledger
from pseudonymizer.lifecycle import Transition
from pseudonymizer.policy import Policy
from pseudonymizer.rotations import Rotations
from servicekit import database
from servicekit.audit import AuditLog
from servicekit.identity import Caller, Role


def database_in(folder: Path) -> Engine:
    """Return a new SQLite database with the pseudonymizer's tables."""
    engine = database.engine(f"sqlite:///{folder}/state.db")
    database.migrate(engine, "pseudonymizer")
    return engine


def keystore(engine: Engine, policy: Policy, folder: Path | None = None) -> KeyStore:
    """Return an open key store of a policy's lines; its key-encryption key lies in `folder` or beside the database."""
    beside = folder or Path(str(engine.url.database)).parent
    kek = open_key_encryption_key("file:kek", beside, first_start=is_empty(engine))
    store = KeyStore(engine, kek, policy.suite, AuditLog(engine), holders=policy.holders)
    store.open(policy.key_lines())
    return store


def apply(store: KeyStore, transition: Transition, *names: KeyName, accept_loss: bool = False) -> None:
    """Take versions through a transition."""
    with store.change() as connection:
        store.transition(connection, names, transition, datetime.now(UTC), accept_loss=accept_loss)


def rotate(store: KeyStore, name: KeyName) -> KeyName:
    """Make and activate the next version of the line of `name`; return it."""
    with store.change() as connection:
        made = store.create(connection, name.domain, name.kind).name
    apply(store, Transition.ACTIVATE, made)
    return made


DOMAIN, LINKAGE, FAMILIE = "source/prisme", "linkage/familie", "linker/familie"
SOURCE = Caller(f"spiffe://kinlink.test/{DOMAIN}", Role.SOURCE, "prisme")
LINKER = Caller(f"spiffe://kinlink.test/{FAMILIE}", Role.LINKER, "familie")
DPO = Caller("spiffe://kinlink.test/dpo/dpo", Role.DPO, "dpo")
OTHER = Caller("spiffe://kinlink.test/source/dubu", Role.SOURCE, "dubu")
OPERATIONS = ((DOMAIN, "evaluate", DOMAIN), (DOMAIN, "rekey", DOMAIN), (FAMILIE, "rekey", LINKAGE))
POLICY = Policy.model_validate(
    {
        "suites": ["synthetic"],
        "domain": [
            {"name": DOMAIN, "kinds": ["cpr", "address"]},
            {"name": LINKAGE, "kinds": ["cpr"]},
            {"name": "source/dubu", "kinds": ["cpr"]},
        ],
        "grant": [
            *(
                {"name": f"{caller} {operation}", "caller": caller, "operation": operation, "domain": domain}
                | {"kinds": ["cpr"]}
                for caller, operation, domain in OPERATIONS
            ),
            {"name": "convert", "caller": FAMILIE, "operation": "convert", "from": [DOMAIN], "to": LINKAGE}
            | {"kinds": ["cpr"]},
        ],
        "budget": [{"caller": c, "per_day": 10**6, "per_year": 10**6} for c in (DOMAIN, FAMILIE)],
        "rotation": {"rotate_after_days": 365, "backups_kept_days": 30},
    }
)
FIRST, SECOND, PRIMARY = (KeyName(DOMAIN, Kind.CPR, version) for version in (1, 2, 0))
LINKAGE_FIRST, LINKAGE_PRIMARY = (KeyName(LINKAGE, Kind.CPR, version) for version in (1, 0))
ELEMENTS = ristretto255.hash_to_group([b"%d" % number for number in range(100)], b"test")


class Replica:
    """One of several processes on a database."""

    def __init__(self, engine: Engine, pool: ThreadPoolExecutor, folder: Path | None = None) -> None:
        self.keys = keystore(engine, POLICY, folder)
        self.audit = AuditLog(engine)
        self.doors = Doors(
            POLICY, self.keys, Ledger(engine, self.audit, lambda: datetime.now(UTC).date()), pool, max_elements=1000
        )
        self.rotations = Rotations(engine, POLICY, self.keys, self.audit, pool)

    def evaluate(self, name: KeyName = PRIMARY, begun: set[KeyName] | None = None) -> bytes:
        return self.doors.evaluate(SOURCE, name, Suite.SYNTHETIC.wire, ELEMENTS, begun or ()).elements

    def convert(self, source: KeyName, target: KeyName = LINKAGE_PRIMARY, elements: bytes = ELEMENTS) -> bytes:
        return self.doors.convert(LINKER, source, target, elements).elements

    def rekey(self, source: KeyName, target: KeyName = PRIMARY, elements: bytes = ELEMENTS) -> bytes:
        return self.doors.rekey(SOURCE, source, target, elements).elements
