"""Any sequence of transitions, by a slow and obvious second account of the lifecycle."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import select

from kinlink import ristretto255
from kinlink.pseudonyms import Kind, Suite
from pseudonymizer.doors import Doors
from pseudonymizer.keyset import KeyName
from pseudonymizer.keystore import attested, tables
from pseudonymizer.keystore.attested import Attestation
from pseudonymizer.keystore.store import KeyStore
from pseudonymizer.ledger import Ledger
from pseudonymizer.lifecycle import Transition
from pseudonymizer.policy import Policy
from servicekit.audit import AuditLog
from servicekit.errors import PreconditionError, ServiceError
from servicekit.identity import Caller, Role
from tests.unit import key_fixtures as given

_DOMAIN, _LINKAGE = "source/prisme", "linkage/familie"
_SOURCE = Caller(f"spiffe://kinlink.test/{_DOMAIN}", Role.SOURCE, "prisme")
_LINKER = Caller("spiffe://kinlink.test/linker/familie", Role.LINKER, "familie")
_HOLDERS = ("linker/familie", _DOMAIN)
_POLICY = Policy.model_validate(
    {
        "suites": ["synthetic"],
        "domain": [{"name": _DOMAIN, "kinds": ["cpr"]}, {"name": _LINKAGE, "kinds": ["cpr"]}],
        "grant": [
            {"name": "1", "caller": _DOMAIN, "operation": "evaluate", "domain": _DOMAIN, "kinds": ["cpr"]},
            {"name": "2", "caller": _DOMAIN, "operation": "rekey", "domain": _DOMAIN, "kinds": ["cpr"]},
            {
                "name": "3",
                "caller": "linker/familie",
                "operation": "convert",
                "from": [_DOMAIN],
                "to": _LINKAGE,
                "kinds": ["cpr"],
            },
        ],
        "budget": [{"caller": c, "per_day": 10**9, "per_year": 10**9} for c in _HOLDERS],
    }
)
_ELEMENT = ristretto255.hash_to_group([b"x"], b"test")
_FROM = {
    Transition.ACTIVATE: {"pending"},
    Transition.DISABLE: {"retiring"},
    Transition.ENABLE: {"disabled"},
    Transition.COMPROMISE: {"pending", "active", "retiring", "disabled"},
    Transition.SALVAGE: {"compromised"},
    Transition.DESTROY: {"pending", "retiring", "disabled", "compromised"},
}
_TO = {
    Transition.ACTIVATE: "active",
    Transition.DISABLE: "disabled",
    Transition.ENABLE: "retiring",
    Transition.COMPROMISE: "compromised",
    Transition.SALVAGE: "retiring",
    Transition.DESTROY: "destroyed",
}
_back = st.integers(min_value=-1, max_value=3)  # how many versions before the newest; -1: not made yet


class Lifecycle(RuleBasedStateMachine):
    """One key line; `states` and the sets beside it are the second account, by version."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="kinlink-lifecycle-"))
        self.engine = given.database_in(self.folder)
        self.store = given.keystore(self.engine, _POLICY)
        self.other = given.keystore(self.engine, _POLICY)  # another replica
        self.doors = self._doors(self.store), self._doors(self.other)
        self.states = {1: "active"}
        self.ever_active = {1}
        self.ever_compromised: set[int] = set()
        self.attested: dict[int, set[str]] = {}
        self.checks: dict[int, bytes] = {}

    def _doors(self, store: KeyStore) -> Doors:
        ledger = Ledger(self.engine, AuditLog(self.engine), lambda: datetime.now(UTC).date())
        return Doors(_POLICY, store, ledger, None, 100)  # type: ignore[arg-type]

    def teardown(self) -> None:
        self.engine.dispose()
        shutil.rmtree(self.folder)

    def _version(self, back: int) -> int:
        return max(1, len(self.states) - back)

    @rule()
    def rotate(self) -> None:
        """Come to the interesting states sooner."""
        self.create()
        for version in [v for v, s in self.states.items() if s == "pending"]:
            self._apply(version, Transition.ACTIVATE, accept_loss=False)

    @rule()
    def create(self) -> None:
        try:
            with self.store.change() as connection:
                made = self.store.create(connection, _DOMAIN, Kind.CPR).name.version
        except PreconditionError:
            assert "pending" in self.states.values()
            return
        assert "pending" not in self.states.values()
        assert made == len(self.states) + 1  # never used before
        self.states[made] = "pending"

    @rule(back=_back, transition=st.sampled_from(sorted(_FROM)), accept_loss=st.booleans())
    def change(self, back: int, transition: Transition, *, accept_loss: bool) -> None:
        self._apply(self._version(back), transition, accept_loss=accept_loss)

    def _apply(self, version: int, transition: Transition, *, accept_loss: bool) -> None:
        expected = self._expected(version, transition, accept_loss)
        refused = ""
        try:
            given.apply(self.store, transition, KeyName(_DOMAIN, Kind.CPR, version), accept_loss=accept_loss)
        except PreconditionError as error:
            refused = error.reason
        assert refused == expected
        if refused:
            return
        if transition is Transition.ACTIVATE:
            self.states = {v: "retiring" if s == "active" else s for v, s in self.states.items()}
            self.ever_active.add(version)
        if transition is Transition.COMPROMISE:
            self.ever_compromised.add(version)
        self.states[version] = _TO[transition]

    def _expected(self, version: int, transition: Transition, accept: bool) -> str:  # noqa: PLR0911
        """Return the reason of the refusal, or nothing."""
        if version not in self.states:
            return "KEY_VERSION_UNKNOWN"
        if self.states[version] not in _FROM[transition]:
            return "KEY_TRANSITION_REFUSED"
        has_primary = "active" in self.states.values()
        match transition:
            case Transition.ACTIVATE if max(self.ever_active) > version:
                return "KEY_VERSION_SUPERSEDED"
            case Transition.ACTIVATE if has_primary and any(
                s == "retiring" or (s == "disabled" and not self._done(v)) for v, s in self.states.items()
            ):
                return "ROTATION_UNFINISHED"
            case Transition.SALVAGE if version not in self.ever_active:
                return "KEY_TRANSITION_REFUSED"
            case Transition.SALVAGE if not has_primary:
                return "KEY_MISSING"
            case Transition.DESTROY if version in self.ever_active and not (accept or self._done(version)):
                return "HOLDERS_NOT_DONE"
        return ""

    def _done(self, version: int) -> bool:
        return self.attested.get(version, set()) == set(_HOLDERS)

    @precondition(lambda self: "retiring" in self.states.values())
    @rule(holders=st.sampled_from([_HOLDERS[:1], _HOLDERS[1:], _HOLDERS, _HOLDERS]), data=st.data())
    def attest(self, holders: tuple[str, ...], data: st.DataObject) -> None:
        version = data.draw(st.sampled_from([v for v, s in self.states.items() if s == "retiring"]))
        with self.engine.begin() as connection:
            for holder in holders:
                stated = Attestation(holder, datetime.now(UTC))
                attested.record(connection, KeyName(_DOMAIN, Kind.CPR, version), stated)
        self.attested.setdefault(version, set()).update(holders)

    @rule(back=_back, replica=st.integers(0, 1))
    def evaluate(self, back: int, replica: int) -> None:
        version = self._version(back)
        self._answers(self.states.get(version) == "active", lambda: self._evaluate(version, replica, ()))

    @rule(back=_back, replica=st.integers(0, 1))
    def evaluate_in_a_call_begun_under_it(self, back: int, replica: int) -> None:
        version = self._version(back)
        begun, state = {KeyName(_DOMAIN, Kind.CPR, version)}, self.states.get(version)
        goes_on = state == "active" or (state == "retiring" and version not in self.ever_compromised)
        used = self._answers(goes_on, lambda: self._evaluate(version, replica, begun))
        if used and self.states[version] == "retiring":
            self.attested.get(version, set()).discard(_DOMAIN)

    def _evaluate(self, version: int, replica: int, begun: set[KeyName] | tuple[()]) -> None:
        name = KeyName(_DOMAIN, Kind.CPR, version)
        answer = self.doors[replica].evaluate(_SOURCE, name, Suite.SYNTHETIC.wire, _ELEMENT, begun)
        assert answer.key == name
        assert self.checks.setdefault(version, answer.elements) == answer.elements

    @rule(back=_back, replica=st.integers(0, 1))
    def convert(self, back: int, replica: int) -> None:
        version = self._version(back)
        source, target = KeyName(_DOMAIN, Kind.CPR, version), KeyName(_LINKAGE, Kind.CPR, 0)
        used = self._answers(
            self.states.get(version) in ("active", "retiring"),
            lambda: self.doors[replica].convert(_LINKER, source, target, _ELEMENT),
        )
        if used and self.states[version] == "retiring":
            self.attested.get(version, set()).discard("linker/familie")

    @rule(back=_back, replica=st.integers(0, 1))
    def rekey(self, back: int, replica: int) -> None:
        version = self._version(back)
        source, target = KeyName(_DOMAIN, Kind.CPR, version), KeyName(_DOMAIN, Kind.CPR, 0)
        used = self._answers(
            self.states.get(version) == "retiring" and "active" in self.states.values(),
            lambda: self.doors[replica].rekey(_SOURCE, source, target, _ELEMENT),
        )
        if used:
            self.attested.get(version, set()).discard(_DOMAIN)

    def _answers(self, expected: bool, ask: object) -> bool:
        answered = False
        with suppress(ServiceError):
            ask()  # type: ignore[operator]
            answered = True
        assert answered == expected
        return answered

    @invariant()
    def one_primary_at_most_and_the_store_says_the_same(self) -> None:
        assert list(self.states.values()).count("active") <= 1
        versions, keyset = self.store.current()
        mine = [version for version in versions if version.name.domain == _DOMAIN]
        assert {version.name.version: version.state.value for version in mine} == self.states
        with self.engine.connect() as connection:
            held = connection.execute(
                select(tables.keys.c.version).where(tables.keys.c.domain == _DOMAIN, tables.keys.c.sealed.is_not(None))
            ).scalars()
            assert set(held) == {v for v, s in self.states.items() if s != "destroyed"}
        for version in mine:
            usable = keyset.usable(version.name)
            assert (usable is not None) == (version.state.value in ("active", "retiring"))


Lifecycle.TestCase.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
TestLifecycle = Lifecycle.TestCase
