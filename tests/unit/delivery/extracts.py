"""Small extracts and mappings for tests."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from kinlink.blinding import unreported
from kinlink.delivery.examine import Examination, examine, validated
from kinlink.delivery.mapping_file import load
from kinlink.delivery.period import Period

POSTINGS = """
dataset = "postings"
max_rejected_share = 1.0
[file]
encoding = "windows-1252"
last_row_ends_with_line_break = true
[numbers]
decimal = ","
thousands = "."
trailing_minus = true
[codes.konto]
file = "konto.csv"
from = "Konto"
[columns]
person = { from = "Registrant", not_a_person = "cvr" }
event_month = { from = "Periode", date = "yyyymm" }
booked_month = { from = "Dato", date = "dd-mm-yyyy" }
amount_ore = { from = "Beløb" }
dranst = { value = 1 }
department = { code = "konto" }
service = { code = "konto" }
cost_component = { value = "service" }
"""
HEADER = "Konto;Dato;Periode;Registrant;Tekst;Beløb\r\n"
SOUND = "100;05-03-2014;201403;610180-0010;køb;1.234,56-\r\n"
CODES = "code;service;department\n100;BIF-X;BIF\n"

PAYERS = """
dataset = "payer_encodings"
schema = "dk-person-1"
max_rejected_share = 1.0
[file]
encoding = "windows-1252"
[texts]
born = { from = "Registrant", slice = [1, 6], when = { "Født" = "" } }
[columns]
encoding_id = { from = "Løbenr" }
person = { from = "Registrant", not_a_person = "cvr" }
[fields]
full_name = { from = "Navn" }
birth_date = { from = ["Født", "born"] }
street = { from = "Vej" }
house_number = { from = "Nr" }
postcode = { from = "Postnr" }
"""
PAYER_HEADER = "Løbenr;Registrant;Navn;Født;Vej;Nr;Postnr;Konto;Dato;Periode;Beløb\r\n"
TWIN_POSTINGS = POSTINGS.replace("amount_ore", 'encoding_id = { from = "Løbenr" }\namount_ore')
PERSONS = """
dataset = "person_encodings"
schema = "dk-person-1"
max_rejected_share = 1.0
[file]
encoding = "utf-8"
[columns]
person = { from = "PNR" }
[fields]
given_name = { from = "FORNAVN" }
birth_date = { from = "F", date = "yyyymmdd" }
street = { from = "VEJ", when = { BESKYTTET = "" } }
"""
PERSON_HEADER = "PNR;FORNAVN;F;VEJ;BESKYTTET\n"


def mapping_file(folder: Path, text: str = POSTINGS) -> Path:
    """Write a mapping and its code list."""
    (folder / "konto.csv").write_text(CODES)
    path = folder / "mapping.toml"
    path.write_text(text, encoding="utf-8")
    return path


def extract_file(folder: Path, text: str, encoding: str = "windows-1252", name: str = "extract.csv") -> Path:
    """Write an extract as it is, line ends too."""
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def payer(
    number: str = "7",
    registrant: str = "",
    name: str = "Rosalil Månestråle",
    born: str = "03-05-1980",
    road: str = "Vandmøllevej",
    house: str = "12",
    postcode: str = "2630",
) -> str:
    """Return a row of an extract that PAYERS and TWIN_POSTINGS read."""
    return ";".join((number, registrant, name, born, road, house, postcode, "100;05-03-2014;201403;1,00")) + "\r\n"


def examined(folder: Path, text: str, mapping: str = POSTINGS, encoding: str = "windows-1252") -> Examination:
    """Examine an extract of this text."""
    path, told = extract_file(folder, text, encoding), load(mapping_file(folder, mapping))
    return examine([path], told, Period.parse("2014"), unreported, synthetic=True)


def rows(folder: Path, text: str, mapping: str = POSTINGS, encoding: str = "windows-1252") -> pl.DataFrame:
    """Return the dataset's rows, identifiers as text."""
    path, told = extract_file(folder, text, encoding), load(mapping_file(folder, mapping))
    batches = validated([path], told, Period.parse("2014"), unreported, synthetic=True)
    return pl.concat([batch.rows for batch, _, _ in batches])


def reasons(examination: Examination) -> list[tuple[int, str, str]]:
    """Return (row, column, reason) of every reject."""
    return [(row, column, reason) for _, row, column, reason, _ in examination.rejects.iter_rows()]
