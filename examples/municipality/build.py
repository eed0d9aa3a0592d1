"""Generates a municipality: population, events, books, extracts and truth, in that order."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from examples.municipality import (
    job_status,
    ledger,
    names,
    names_extract,
    near_misses,
    numbers,
    other_families,
    outsiders,
    payers,
    population,
    posting_extracts,
    register_extract,
    spell_extracts,
    target_group,
    truth,
)
from examples.municipality.calibration import SEED, generator, scale
from examples.municipality.events import Events
from examples.municipality.formats import Writer
from examples.municipality.people import People


def generate(
    scale_name: str, out: Path, *, residents: int | None = None, seed: int = SEED, payers_too: bool = False
) -> str:
    """Write `out/extracts` and `out/truth`, and return a digest over all of it.

    `residents` fills the city with households without children up to that many registered persons. `payers_too` adds
    the register's names, and the extracts of postings once more, with payers who have no number; all else stays.
    """
    stream = partial(generator, seed)
    size = scale(scale_name)
    people, events = People(), Events()
    families = population.lay_down(size, stream("families"))
    population.people_of(families, people, stream("people"))
    outsiders.absent_parents(families, people, stream("absent parents"))
    outsiders.spouses_elsewhere(families, people, stream("spouses elsewhere"))
    planted = near_misses.choose(families, people, size, stream("near misses"))
    outsiders.relatives(families, people, stream("relatives"))
    outsiders.rare(people, size, stream("rare"))
    outsiders.childless(people, size.childless_households, residents, stream("childless"))
    outsiders.moves_and_protection(people, stream("moves"))
    numbered = numbers.assign(people, families, stream("numbers"))

    near_misses.plant(planted, events)
    target_group.write(families, people, events, stream("target group"))
    other_families.write(families, people, planted, events, stream("other families"))

    books = {
        "spells": ledger.spells(events, people, stream("spells")),
        "postings": ledger.postings(events, stream("postings")),
        "benefits": ledger.benefits(events, stream("benefits")),
    }
    books = {name: ledger.spoil(rows, people, stream(f"dirt {name}")) for name, rows in books.items()}
    books = {name: rows.with_row_index("row") for name, rows in ledger.price(books, people, families).items()}

    writer = Writer(numbered, numbered.everybody)
    extracts = out / "extracts"
    register_extract.write(people, numbered, extracts / "folkeregister", stream("folkeregister"))
    spells, postings, benefits = books["spells"], books["postings"], books["benefits"]
    spell_extracts.dubu(spells, people, writer, extracts / "dubu", stream("dubu"))
    spell_extracts.voksen(spells, writer, extracts / "voksen", stream("voksen"))
    spell_extracts.institution(spells, people, writer, extracts / "institution", stream("institution"))
    spell_extracts.elev(spells, people, writer, extracts / "elev", stream("elev"))
    posted = {
        "ky": spell_extracts.ky(benefits, writer, extracts / "ky", stream("ky")),
        "prisme": posting_extracts.prisme(postings, writer, extracts / "prisme", stream("prisme")),
        "sundhed": posting_extracts.sundhed(postings, writer, extracts / "sundhed", stream("sundhed")),
        "kultur": posting_extracts.kultur(postings, writer, extracts / "kultur", stream("kultur")),
    }
    posting_extracts.price_list(extracts / "prisme")
    momentum = extracts / "momentum"
    employment = job_status.momentum(benefits, people, families, writer, momentum, stream("momentum"))
    job_status.consents(people, families, writer, extracts / "projekt", stream("projekt"))

    table, members, persons = truth.families_and_members(families, people, numbered)
    linked = truth.services(books, linked_only=True)
    sums = truth.amounts(books)
    tables = {
        "families": table,
        "members": members,
        "persons": persons,
        "family_services": linked,
        "amounts": sums,
        "employment": employment,
    }
    figures = truth.expected(size, table, linked, sums, planted)
    figures["residents"] = int(persons["resident"].sum())
    truth.write(out / "truth", tables, figures, planted, numbered)
    if payers_too:
        named = names.draw(people, stream("names"))
        names_extract.write(people, numbered, named, extracts / "folkeregister", stream("names extract"))
        payers.write(books, posted, people, numbered, named, out, stream("payers"))
    return truth.digest(out)
