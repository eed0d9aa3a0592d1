"""The deployment's policy: which suite, which domains, who may do what, how much.

1. Deny by default: what no grant names is refused.
2. A grant is caller × operation × from × to × kind. A source evaluates and rekeys in its own domain
   only. The linker converts, from sources to a linkage domain, and rekeys there: were it able to
   evaluate, it could guess identifiers. Nothing converts to a source, nothing from linkage to
   linkage. A file that grants otherwise is refused at start, whoever wrote it.
   A source may also encode: it is handed the secret that a linkage domain's encoding key gives for a schema. That key
   makes no pseudonyms; a linker, which holds what is encoded, never gets it.
3. Every caller with a grant has a budget.
4. Real and synthetic identifiers are never served by one deployment.
5. The holders of a key line are those who store its pseudonyms: callers that may rekey there, and
   linkers that may convert from it or to it; of an encoding key, the sources that may encode for the domain, and the
   linkers that may convert to it, which hold what is encoded. A version is destroyed
   when all of them are done with it.

`policy.example.toml` shows the file. It does not know keys or counts.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, ValidationError, model_validator

from kinlink.pseudonyms import Kind, Suite
from servicekit.errors import DeniedError, InvalidError, PreconditionError

_NAME: Final = "[a-z0-9][a-z0-9._-]{0,62}"
DomainName = Annotated[str, StringConstraints(pattern=f"^(source|linkage)/{_NAME}$")]
CallerName = Annotated[str, StringConstraints(pattern=f"^(source|linker)/{_NAME}$")]
Kinds = Annotated[tuple[Kind, ...], Field(min_length=1)]


class PolicyError(Exception):
    """The policy cannot be used; says where and why. Stops the start."""


class Operation(StrEnum):
    """What a grant allows."""

    EVALUATE = "evaluate"
    PSEUDONYMISE = "pseudonymise"
    CONVERT = "convert"
    REKEY = "rekey"
    ENCODE = "encode"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Domain(_Table):
    """A pseudonymisation domain and the kinds it has keys for."""

    name: DomainName
    kinds: Kinds
    plain_door: bool = False

    @model_validator(mode="after")
    def _encodes_for_linkage(self) -> Self:
        if Kind.ENCODING in self.kinds and not self.name.startswith("linkage/"):
            raise ValueError("a key of kind encoding belongs to a linkage domain: all its sources encode alike")
        return self


class Grant(_Table):
    """Who may do what, where. `from` and `to` for conversion; `domain` for everything else."""

    name: str = Field(min_length=1, max_length=100)
    caller: CallerName
    operation: Operation
    domain: DomainName | None = None
    sources: tuple[DomainName, ...] = Field(default=(), alias="from")
    to: DomainName | None = None
    kinds: Kinds

    @model_validator(mode="after")
    def _is_allowed_by_the_rules(self) -> Self:
        if (self.operation is Operation.ENCODE) != (Kind.ENCODING in self.kinds):
            raise ValueError("kind encoding goes with the operation encode, and with no other")
        if self.operation is Operation.ENCODE:
            if not self.caller.startswith("source/"):
                raise ValueError("sources encode; a linker never has an encoding key")
            if not (self.domain or "").startswith("linkage/") or self.sources or self.to or len(self.kinds) > 1:
                text = "a source encodes for a linkage domain: set `domain` to it, no from or to, and no other kind"
                raise ValueError(text)
            return self
        converts, links = self.operation is Operation.CONVERT, self.caller.startswith("linker/")
        if converts != links and not (links and self.operation is Operation.REKEY):
            raise ValueError(
                "sources evaluate, pseudonymise and rekey; the linker converts and rekeys; nothing else can be granted"
            )
        if not links and (self.domain != self.caller or self.sources or self.to):
            raise ValueError("a source acts in its own domain: set `domain` to the caller's name, and no from or to")
        if converts and (self.domain or not self.sources or not self.to):
            raise ValueError("a conversion has `from` (a list) and `to`, and no domain")
        if links and not converts and (not (self.domain or "").startswith("linkage/") or self.sources or self.to):
            raise ValueError("a linker rekeys in a linkage domain: set `domain` to it, and no from or to")
        if any(not source.startswith("source/") for source in self.sources):
            raise ValueError("a conversion goes from source domains")
        if self.to and not self.to.startswith("linkage/"):
            raise ValueError("a conversion goes to a linkage domain")
        return self

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains acted in, or converted from; never empty."""
        return self.sources or (self.domain or "",)

    def routes(self) -> Iterator[Route]:
        """Yield each single permission of the grant."""
        for source in self.domains:
            for kind in self.kinds:
                yield Route(self.caller, self.operation, source, self.to or "", kind)


class Rotation(_Table):
    """How keys age. What it asks for is shown, not enforced."""

    rotate_after_days: int = Field(default=0, ge=0)
    backups_kept_days: int = Field(default=0, ge=0)


class BudgetLimit(_Table):
    """How many elements a caller may send."""

    caller: CallerName
    per_day: int = Field(gt=0)
    per_year: int = Field(gt=0)


@dataclass(frozen=True, slots=True)
class Route:
    """One permission: caller × operation × from × to × kind; `target` is empty but for conversion."""

    caller: str
    operation: Operation
    source: str
    target: str
    kind: Kind


class Policy(_Table):
    """The whole file."""

    suites: tuple[Suite, ...] = (Suite.KINLINK_V1,)
    domains: tuple[Domain, ...] = Field(alias="domain", min_length=1)
    grants: tuple[Grant, ...] = Field(default=(), alias="grant")
    budgets: tuple[BudgetLimit, ...] = Field(default=(), alias="budget")
    rotation: Rotation = Rotation()
    _digest: bytes = PrivateAttr(default=b"")

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Read a policy. Raises PolicyError when the file is unreadable or breaks a rule."""
        try:
            content = path.read_bytes()
            policy = cls.model_validate(tomllib.loads(content.decode("utf-8")))
        except ValidationError as error:
            lines = [f"  {'.'.join(map(str, e['loc'])) or 'policy'}: {e['msg']}" for e in error.errors()]
            raise PolicyError("\n".join([f"{path}:", *lines])) from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise PolicyError(f"{path}: cannot be read as TOML") from error
        policy._digest = sha256(content).digest()  # noqa: SLF001 - its own class
        return policy

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(set(self.suites)) != 1:
            raise ValueError("suites: exactly one; real and synthetic identifiers are not served together")
        domains = {domain.name: domain for domain in self.domains}
        if len(domains) != len(self.domains):
            raise ValueError("domain: a name stands twice")
        if len({grant.name for grant in self.grants}) != len(self.grants):
            raise ValueError("grant: a name stands twice; the log tells them apart by it")
        if len(self._limits) != len(self.budgets):
            raise ValueError("budget: a caller stands twice")
        seen: set[Route] = set()
        linked = {(route.caller, route.target) for grant in self.grants for route in grant.routes() if route.target}
        for grant in self.grants:
            rekeys = grant.operation is Operation.REKEY and grant.caller.startswith("linker/")
            if rekeys and (grant.caller, grant.domain) not in linked:
                raise ValueError(f"grant {grant.name!r}: {grant.caller} converts nothing to {grant.domain}")
            if grant.caller not in self._limits:
                raise ValueError(f"grant {grant.name!r}: {grant.caller} has no budget")
            for route in grant.routes():
                for name in filter(None, (route.source, route.target)):
                    if name not in domains or route.kind not in domains[name].kinds:
                        raise ValueError(f"grant {grant.name!r}: no domain {name} with kind {route.kind}")
                if route in seen:
                    raise ValueError(f"grant {grant.name!r}: something in it is granted already")
                seen.add(route)
        return self

    @property
    def suite(self) -> Suite:
        """The one suite of this deployment."""
        return self.suites[0]

    @property
    def digest(self) -> bytes:
        """SHA-256 of the file, or of the content where there was none."""
        return self._digest or sha256(self.model_dump_json(by_alias=True).encode()).digest()

    @property
    def _limits(self) -> dict[str, BudgetLimit]:
        return {budget.caller: budget for budget in self.budgets}

    def key_lines(self) -> Iterator[tuple[str, Kind]]:
        """Yield every (domain, kind) that has keys."""
        for domain in self.domains:
            for kind in domain.kinds:
                yield domain.name, kind

    def budget(self, caller: str) -> BudgetLimit:
        """Return the budget of a caller that has a grant."""
        return self._limits[caller]

    def holders(self, domain: str, kind: Kind) -> tuple[str, ...]:
        """Return who may store pseudonyms, or use encodings, of a key line, "<role>/<name>", sorted."""
        routes = [route for grant in self.grants for route in grant.routes()]
        used = (Operation.REKEY, Operation.ENCODE)
        holders = {r.caller for r in routes if r.kind is kind and r.operation in used and r.source == domain}
        if kind is Kind.ENCODING:
            holders |= {r.caller for r in routes if r.operation is Operation.CONVERT and r.target == domain}
        else:
            holders |= {r.caller for r in routes if r.kind is kind and r.target and domain in (r.source, r.target)}
        return tuple(sorted(holders))

    @property
    def plain_doors(self) -> tuple[str, ...]:
        """The domains whose plain door is open, in the file's order."""
        return tuple(domain.name for domain in self.domains if domain.plain_door)

    def knows(self, domain: str) -> bool:
        """Say whether the domain is declared, and so may stand in a log."""
        return any(domain == declared.name for declared in self.domains)

    def authorise(self, route: Route) -> str:
        """Return the name of the grant for a route.

        Raises:
            DeniedError: GRANT_MISSING; PLAIN_DOOR_CLOSED when the domain's policy keeps it shut.
        """
        for grant in self.grants:
            if route in grant.routes():
                break
        else:
            raise DeniedError("no grant allows this; ask the service's custodians for one", "GRANT_MISSING")
        if route.operation is Operation.PSEUDONYMISE and route.source not in self.plain_doors:
            raise DeniedError("this domain has no plain door; use the blind door", "PLAIN_DOOR_CLOSED")
        return grant.name

    def check_suite(self, number: int) -> None:
        """Refuse a hash tag that is not this deployment's.

        Raises:
            InvalidError: SUITE_UNSPECIFIED.
            PreconditionError: SUITE_NOT_ALLOWED.
        """
        if number == 0:
            raise InvalidError("suite is not set", "SUITE_UNSPECIFIED")
        if number != self.suite.wire:
            raise PreconditionError(f"this deployment serves the suite {self.suite} only", "SUITE_NOT_ALLOWED")
