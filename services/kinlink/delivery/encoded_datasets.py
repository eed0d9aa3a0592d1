"""The datasets of payers without a CPR number: encodings of persons and of payers, and answers about them.

Encodings (`kinlink.encoding`) are filters in the order of their linkage schema's fields, and blocking tokens; the
delivery's header names the schema and the encoding key's version.
"""

from __future__ import annotations

import polars as pl

from kinlink.delivery.dataset import Column, Dataset
from kinlink.linker.v1 import intake_service_pb2 as pb
from kinlink.pseudonyms import Kind

_ENCODING_ID = Column(
    "encoding_id",
    pl.String(),
    "the source's own record id, unique in the delivery",
    "kildens eget post-id, entydigt i leverancen",
)
_ENCODINGS = (
    Column(
        "fields",
        pl.List(pl.Binary()),
        "one keyed filter a field of the linkage schema, in its order; null where the value is missing or unusable",
        "et nøglet filter pr. felt i koblingsskemaet, i dets rækkefølge; tom hvor værdien mangler eller er ubrugelig",
    ),
    Column(
        "tokens",
        pl.List(pl.Binary()),
        "keyed blocking tokens, 8 bytes each; none when nothing usable is known",
        "nøglede bloknøgler på 8 bytes; ingen når intet brugbart kendes",
    ),
)

PERSON_ENCODINGS = Dataset(
    "person_encodings",
    pb.DATASET_PERSON_ENCODINGS,
    "a registered person's name, birth date and address, encoded",
    "en registreret persons navn, fødselsdato og adresse, kodet",
    (Column("person", pl.Binary(), "the person", "personen", kind=Kind.CPR), *_ENCODINGS),
    register_only=True,
    encoded=True,
)

PAYER_ENCODINGS = Dataset(
    "payer_encodings",
    pb.DATASET_PAYER_ENCODINGS,
    "what a record without a usable CPR number knows of its payer, encoded",
    "hvad en post uden brugbart personnummer ved om betaleren, kodet",
    (_ENCODING_ID, *_ENCODINGS),
    encoded=True,
)

REVIEW_ANSWERS = Dataset(
    "review_answers",
    pb.DATASET_REVIEW_ANSWERS,
    "a source's answer about one of its own records in review",
    "kildens svar om en af dens egne poster til gennemsyn",
    (
        _ENCODING_ID,
        Column(
            "person",
            pl.Binary(),
            "who it is; null when it is nobody in the register",
            "hvem det er; tom når ingen i registret er det",
            nullable=True,
            kind=Kind.CPR,
        ),
    ),
)
