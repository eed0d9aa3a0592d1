"""Which disclosure policies this linker has run with: their serial numbers, and no older one again.

1. A policy is admitted when its serial is higher than all before, or when it is the newest again with its numbers.
2. Whoever puts an older database back has an older newest policy, too: that shows in the log's checkpoints.
"""

from __future__ import annotations

import sqlalchemy as sa

from linker.disclosure.policy import Policy, PolicyError
from linker.store.state import METADATA, Instant, now

DISCLOSURE_POLICIES = sa.Table(
    "disclosure_policies",
    METADATA,
    sa.Column("serial", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("first_at", Instant, nullable=False),
)


class OlderPolicyError(PolicyError):
    """The linker has run with a newer policy, or with another of the same serial; names both and what to do."""


def admit(connection: sa.Connection, policy: Policy) -> None:
    """Note the policy, as part of a transaction.

    Raises:
        OlderPolicyError: it is not the newest.
    """
    newest = connection.execute(
        sa.select(DISCLOSURE_POLICIES).order_by(DISCLOSURE_POLICIES.c.serial.desc()).limit(1)
    ).first()
    if newest is None or newest.serial < policy.serial:
        row = {"serial": policy.serial, "digest": policy.digest, "first_at": now()}
        connection.execute(sa.insert(DISCLOSURE_POLICIES), row)
    elif newest.serial > policy.serial:
        raise OlderPolicyError(
            f"disclosure: its serial is {policy.serial}, and this linker runs with serial {newest.serial} since "
            f"{newest.first_at.date()}; put that file back, or give this one serial {newest.serial + 1} and have it "
            "signed again"
        )
    elif newest.digest != policy.digest:
        raise OlderPolicyError(
            f"disclosure: serial {policy.serial} stands for other numbers, since {newest.first_at.date()}; give this "
            f"file serial {newest.serial + 1} and have it signed again"
        )
