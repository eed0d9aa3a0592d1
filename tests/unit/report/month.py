"""A month written by hand: two services, a leaked key, an open rotation, one day out of the ordinary."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from kinlink.released import Release, TableRecord
from kinlink.report.material import (
    Anchor,
    Change,
    Decided,
    Entry,
    Grant,
    Holder,
    Kept,
    Key,
    KeyVersion,
    Log,
    Material,
    Policy,
    Rotation,
    Run,
    Signature,
    Signer,
    Witness,
)

MADE_AT = datetime(2026, 11, 2, 8, 30, tzinfo=UTC)
SERVICE = "kinlink.pseudonymizer.v1.PseudonymisationService"
TABLES = "kinlink.linker.v1.StatisticsService"
SPENDING = ("Udgifter pr. familie", "Spending per family")
COVERAGE = ("Koblingsgrad", "Coverage")
PRISME = Key("source/prisme", "cpr", 1)
PRISME_NEW = Key("source/prisme", "cpr", 2)
LEAKED = Key("source/kultur", "cpr", 1)


def at(month: int, day: int, hour: int = 9, minute: int = 0) -> datetime:
    """Return an instant of 2026."""
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def entries() -> list[Entry]:
    """Return the pseudonymizer's log: a delivery's worth of elements each month, and a leap in October."""
    found = []

    def add(when: datetime, rpc: str, caller: str, outcome: str = "ok", **rest: object) -> None:
        found.append(Entry("pseudonymizer", len(found), when, rpc, caller, outcome, **rest))  # type: ignore[arg-type]

    add(datetime(2026, 1, 5, 9, tzinfo=UTC), "log.genesis", "")
    for month in range(1, 11):
        for day in (3, 4):
            add(
                at(month, day),
                f"{SERVICE}/Evaluate",
                "source/prisme",
                subject="source/prisme",
                kind="cpr",
                key_version=1,
                count=41_000 + 250 * month + 90 * day,
                grant="prisme evaluates",
            )
            add(
                at(month, day, 10),
                f"{SERVICE}/Convert",
                "linker/familie",
                subject="source/prisme>linkage/familie",
                kind="cpr",
                count=41_000 + 250 * month,
                grant="familie links cpr",
            )
    add(
        at(10, 19, 2),
        f"{SERVICE}/Evaluate",
        "source/prisme",
        subject="source/prisme",
        kind="cpr",
        key_version=1,
        count=611_000,
        grant="prisme evaluates",
    )
    add(at(10, 19, 3), f"{SERVICE}/Evaluate", "source/prisme", "refused", reason="BUDGET_DAY", count=900_000)
    add(at(10, 20), f"{SERVICE}/Evaluate", "source/elev", subject="source/elev", kind="cpr", count=9_800)
    add(at(10, 21), f"{SERVICE}/Convert", "source/elev", "refused", reason="ACCESS_DENIED")
    evidence = '{"caller":"source/kultur","domains":["source/kultur"],"kinds":["cpr"],"operation":"evaluate","to":""}'
    add(at(10, 22), "policy.grant.added", "", grant="kultur evaluates", subject="source/kultur", evidence=evidence)
    return found


def linker_entries() -> list[Entry]:
    """Return the linker's log: deliveries, a withdrawal, readings, a question about a delivery not sent yet."""
    ids = "0b54ee3f-cbd5-4b5e-9d3e-6d4fba5cf1a2"
    release = "8f2c4de19b7a40d1a6f35e0c7b92d814"
    return [
        Entry("linker", 0, at(9, 3), "delivery accepted", "", "ok", subject=f"prisme/postings/2026-08/{ids}", count=41),
        Entry(
            "linker",
            1,
            at(10, 3),
            "delivery accepted",
            "",
            "ok",
            subject=f"prisme/postings/2026-09/{ids}",
            count=86_512,
        ),
        Entry(
            "linker", 2, at(10, 4), "delivery withdrawn", "", "ok", subject=f"elev/spells/2026-09/{ids}", count=9_800
        ),
        Entry("linker", 3, at(10, 5), "linkage run", "", "ok", subject=f"release/{release}", count=3),
        Entry(
            "linker",
            4,
            at(10, 6),
            f"{TABLES}/GetTable",
            "consumer/velfaerdsanalyse",
            "ok",
            subject=f"family_spending/2025/{release}",
            count=24,
            grant="consumer/*",
        ),
        Entry(
            "linker",
            5,
            at(10, 7),
            f"{TABLES}/GetTable",
            "consumer/velfaerdsanalyse",
            "ok",
            subject=f"family_spending/2025/{release}",
            count=24,
            grant="consumer/*",
        ),
        Entry(
            "linker",
            6,
            at(10, 3),
            "kinlink.linker.v1.IntakeService/GetDelivery",
            "source/prisme",
            "refused",
            reason="DELIVERY_UNKNOWN",
        ),
    ]


def material() -> Material:
    """Return the month."""
    born = datetime(2025, 9, 1, tzinfo=UTC)
    others = [
        KeyVersion(
            Key(f"source/{name}", kind, 1),
            "active",
            True,
            born + timedelta(days=40 * place),
            born + timedelta(days=40 * place),
            born + timedelta(days=40 * place),
            None,
            None,
            born + timedelta(days=40 * place + 365),
            "file:1",
        )
        for place, (name, kind) in enumerate(
            (name, kind)
            for name in ("dubu", "elev", "folkeregister", "ky", "sundhed")
            for kind in ("cpr", "replacement")
        )
    ]
    keys = [
        KeyVersion(PRISME, "retiring", True, at(1, 5), at(10, 12), at(1, 5)),
        KeyVersion(
            PRISME_NEW, "active", True, at(10, 9), at(10, 12), at(10, 12), rotate_before=at(10, 12).replace(year=2027)
        ),
        KeyVersion(LEAKED, "compromised", True, at(1, 5), at(10, 22), at(1, 5), compromised_at=at(10, 22)),
        KeyVersion(
            Key("source/voksen", "cpr", 1), "destroyed", True, at(1, 5), at(9, 1), at(1, 5), backups_until=at(12, 1)
        ),
        *others,
    ]
    activate = Change(
        "6f1c0c52-0d50-4e8a-9b0a-3f1f2f0d9c11",
        "activate",
        "applied",
        (PRISME_NEW,),
        "",
        "Årligt nøgleskift",
        False,
        Signature("custodian/noegle-1", at(10, 9, 10)),
        (Signature("custodian/noegle-2", at(10, 9, 13)), Signature("reviewer/revision", at(10, 10, 9))),
        at(10, 23),
        at(10, 12),
    )
    destroy = Change(
        "7f1c0c52-0d50-4e8a-9b0a-3f1f2f0d9c12",
        "destroy",
        "proposed",
        (PRISME,),
        "",
        "Nøgleskiftet er slut",
        False,
        Signature("custodian/noegle-2", at(11, 1, 10)),
        (Signature("reviewer/revision", at(11, 1, 12)),),
        at(11, 15),
        missing="1 more approval",
    )
    rotation = Rotation(
        PRISME,
        PRISME_NEW,
        "retiring",
        at(10, 12),
        (Holder("source/prisme", at(10, 20), 512_300, 512_300, 64), Holder("linker/familie")),
        last_used_at=at(10, 28),
    )
    release = "8f2c4de19b7a40d1a6f35e0c7b92d814"
    return Material(
        logs=(
            Log(
                "pseudonymizer",
                "kinlink.test/pseudonymizer",
                46,
                "ab" * 32,
                "kinlink.test/pseudonymizer+0a1b2c3d+AZ8=",
                True,
                (Witness("nabokommune.test/linker", 4_000, verified=True),),
                (Anchor("writing s3://forankring/kinlink", False, at(9, 2)),),
                (Kept("2026-09", 41, True),),
                (),
                tuple(entries()),
                {44: True, 46: True},
                Decided(2, True, (), {key.key: key.state for key in keys}, at(10, 31)),
            ),
            Log(
                "linker",
                "kinlink.test/linker",
                7,
                "cd" * 32,
                "kinlink.test/linker+1b2c3d4e+AZ8=",
                None,
                (),
                (),
                (),
                (),
                tuple(linker_entries()),
                {1: True, 5: True},
            ),
        ),
        keys=tuple(keys),
        generation=17,
        rotations=(rotation,),
        changes=(destroy, activate),
        signers=(
            Signer("custodian/noegle-1", "custodian", at(1, 5)),
            Signer("custodian/noegle-2", "custodian", at(1, 5)),
            Signer("reviewer/revision", "reviewer", at(1, 5)),
        ),
        genesis="ef" * 32,
        policy=Policy(
            "12" * 32,
            (
                Grant("prisme evaluates", "source/prisme", "evaluate", ("source/prisme",), "", ("cpr", "replacement")),
                Grant(
                    "familie links cpr",
                    "linker/familie",
                    "convert",
                    ("source/prisme", "source/elev"),
                    "linkage/familie",
                    ("cpr",),
                ),
            ),
            {"source/prisme": (700_000, 5_000_000)},
            (),
            365,
            30,
        ),
        releases=(
            Release(
                release,
                date(2026, 1, 1),
                at(10, 5),
                "56" * 32,
                ("insider of SOF", "lone contributor", "outsider"),
                412,
                0,
                0,
                2.5,
                (TableRecord("family_spending", *SPENDING, "2025", 2, "34" * 32, 24, 17, 4, 3),),
            ),
            Release(
                "11c4de19b7a40d1a6f35e0c7b92d8140",
                date(2026, 1, 1),
                at(9, 5),
                "56" * 32,
                ("lone contributor", "outsider"),
                400,
                0,
                0,
                2.4,
                (
                    TableRecord("coverage", *COVERAGE, "2025", 1, "35" * 32, 12, 12, 0, 0),
                    TableRecord("family_spending", *SPENDING, "2025", 1, "36" * 32, 24, 20, 0, 4),
                ),
            ),
        ),
        run=Run(
            "run",
            "succeeded",
            "",
            "2026-01-01",
            2025,
            (("family_spending", "released: 20 of 24 numbers shown, 4 suppressed"),),
        ),
    )
