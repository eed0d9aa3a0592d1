"""Exact, unprotected frames from a demo's store: test code, which no service offers.

Reads the linker's state database and Delta tables where they lie. For this, and to
find a CPR number's family at all, it holds what no party holds together: the
linker's store, and the certificates of the population register and of the linker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import grpc
import polars as pl

from examples.stack import PURPOSE, REGISTER, Stack
from kinlink.channel import Identity, open_channel
from kinlink.conversion_client import ConversionClient
from kinlink.pseudonymizer_client import PseudonymizerClient
from kinlink.pseudonyms import Kind, Suite
from kinlink.types.v1.types_pb2 import KeyRef
from linker.families.c_family import c_family_members
from linker.families.families import families_with_children
from linker.families.residents import residents
from linker.linkage import register
from linker.linkage.aliases import apply, resolve
from linker.linkage.links import applied
from linker.store.delta import DeltaTables
from linker.store.snapshots import Snapshots
from linker.store.tables import IDENTITIES, LINKS, facts
from linker.tables import target_groups
from linker.tables.services import family_services
from linker.tables.spending import family_spending
from servicekit import database

TARGET_GROUP = "copenhagen_analysis"


@dataclass(frozen=True, slots=True)
class Exact:
    """What the gate is given, before it. Schemas as in linker.frames; `target` has family_id.

    `identities` has pseudonym, person_id: the resolved person of each CPR pseudonym. `links` is LINKS, of resolved
    persons: what became of records without a number.
    """

    members: pl.DataFrame
    families: pl.DataFrame
    services: pl.DataFrame
    spending: pl.DataFrame
    target: pl.DataFrame
    identities: pl.DataFrame
    links: pl.DataFrame


def exact(folder: Path, reference_date: date, year: int, municipality: int = 101) -> Exact:
    """Compute the exact frames from the newest snapshot of the linker below `folder`."""
    engine = database.engine(f"sqlite:///{folder / 'linker/state.db'}")
    with Snapshots(engine, DeltaTables(folder / "linker/store", {})).pin() as pinned:
        aliases = resolve(pinned.scan(facts("aliases"))).resolved
        links = pinned.scan(LINKS)

        def scan(dataset: str) -> pl.LazyFrame:
            rows = pinned.scan(facts(dataset))
            return applied(rows, links) if dataset == "postings" else rows

        known = register.read(scan, aliases, date.today())  # noqa: DTZ011
        resident = residents(known["persons"], reference_date, municipality)
        parents = known["persons"].select("person_id", "mother_id", "father_id")
        members = c_family_members(resident, parents, reference_date).collect()
        postings, spells, catalogue = known["postings"], known["spells"], known["catalogue"]
        group = target_groups.load(TARGET_GROUP)
        people = members.lazy()
        identities = (
            pinned.scan(IDENTITIES).filter(pl.col("kind") == "cpr").select("pseudonym", pl.col("id").alias("person_id"))
        )
        return Exact(
            members=members,
            families=families_with_children(people).collect(),
            services=family_services(people, postings, spells, catalogue, year).collect(),
            spending=family_spending(people, postings, spells, catalogue, year).collect(),
            target=target_groups.target_families(group, people, spells, catalogue, reference_date).collect(),
            identities=apply(identities, aliases, ("person_id",)).collect(),
            links=apply(links, aliases, ("person_id",)).collect(),
        )


def family_of(stack: Stack, frames: Exact, numbers: Sequence[str]) -> pl.DataFrame:
    """Return cpr, family_id: the family the linker formed around each number; null where it knows none."""
    family = frames.members.select("person_id", "family_id")
    return person_of(stack, frames, numbers).join(family, on="person_id", how="left").select("cpr", "family_id")


def person_of(stack: Stack, frames: Exact, numbers: Sequence[str]) -> pl.DataFrame:
    """Return cpr, person_id: whom the linker holds to have each number; null where it has never seen it."""
    with _channel(stack, f"source/{REGISTER}") as channel:
        client = PseudonymizerClient(channel, domain=f"source/{REGISTER}", suite=Suite.SYNTHETIC)
        elements, key = client.evaluate(list(numbers), Kind.CPR)
    with _channel(stack, f"linker/{PURPOSE}") as channel:
        target = KeyRef(domain=f"linkage/{PURPOSE}", kind=Kind.CPR.wire)
        converted, _ = ConversionClient(channel).convert(elements, key, target)
    pseudonyms = [converted[i : i + 32] for i in range(0, len(converted), 32)]
    return (
        pl.DataFrame({"cpr": list(numbers), "pseudonym": pseudonyms}, schema={"cpr": pl.String, "pseudonym": pl.Binary})
        .join(frames.identities, on="pseudonym", how="left")
        .select("cpr", "person_id")
    )


@contextmanager
def _channel(stack: Stack, party: str) -> Iterator[grpc.Channel]:
    certificate = stack.folder / "certs" / party.replace("/", "-")
    identity = Identity(stack.folder / "certs/ca.pem", Path(f"{certificate}.pem"), Path(f"{certificate}.key"))
    with open_channel(stack.processes["pseudonymizer"].address, identity) as channel:
        yield channel
