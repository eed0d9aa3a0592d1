"""What an extract tells of persons: usable counts, encodings, and that no row is delivered as two payers."""

from __future__ import annotations

import traceback
from pathlib import Path

import polars as pl
import pytest

from kinlink.blinding import unreported
from kinlink.delivery.describe import encoded, records_of
from kinlink.delivery.encoded_datasets import PAYER_ENCODINGS, PERSON_ENCODINGS
from kinlink.delivery.errors import MappingError
from kinlink.delivery.examine import Examination, examine, validated
from kinlink.delivery.mapping import Described
from kinlink.delivery.mapping_file import load
from kinlink.delivery.period import Period
from kinlink.delivery.pseudonymise import replace
from kinlink.encoding.encode import Encoder
from kinlink.encoding.keys import EncodingKey
from tests.unit.delivery.extracts import (
    PAYER_HEADER,
    PAYERS,
    PERSON_HEADER,
    PERSONS,
    POSTINGS,
    TWIN_POSTINGS,
    examined,
    extract_file,
    mapping_file,
    payer,
    reasons,
    rows,
)

KEY = EncodingKey(bytes(range(32)), "familie", 1)


def payers(folder: Path, *lines: str, mapping: str = PAYERS) -> pl.DataFrame:
    return rows(folder, PAYER_HEADER + "".join(lines), mapping)


def payers_examined(folder: Path, *lines: str, mapping: str = PAYERS) -> Examination:
    return examined(folder, PAYER_HEADER + "".join(lines), mapping)


def described(folder: Path, mapping: str = PAYERS) -> Described:
    found = load(mapping_file(folder, mapping)).described
    assert found
    return found


def test_columns_to_encode_are_joined_by_a_space_and_the_rest_is_empty(tmp_path: Path) -> None:
    joined = PAYERS.replace('"Vej"', '["Vej", "Nr", "Postnr"]').replace("street", "address_line")
    joined = "".join(line for line in joined.splitlines(keepends=True) if not line.startswith(("house", "postcode")))
    made = payers(tmp_path, payer(), payer("8", house="", road="", born="", registrant="610180AB12"), mapping=joined)
    assert made.to_dicts() == [
        {"encoding_id": "7", "full_name": "Rosalil Månestråle", "birth_date": "03-05-1980"}
        | {"address_line": "Vandmøllevej 12 2630"},
        {"encoding_id": "8", "full_name": "Rosalil Månestråle", "birth_date": "610180", "address_line": "2630"},
    ]
    one = PAYERS[: PAYERS.index("full_name")] + 'family_name = { from = "Navn" }\n'
    empty = payers(tmp_path, payer(), mapping=one).drop("encoding_id", "family_name")
    assert empty.columns == ["given_name", "birth_date", "street", "house_number", "floor_door", "postcode"]
    assert set(empty.row(0)) == {None}


@pytest.mark.parametrize(
    ("registrant", "is_payer"),
    [
        ("", True),
        ("0000000000", True),
        ("610180AB12", True),  # a replacement number
        ("6101800010", False),
        (" 610180-0010", False),
        ("12345678", False),  # a company
        ("DK12345678", False),
        ("610180001X1", None),  # none of them: a bad row in both
    ],
)
def test_a_row_has_a_cpr_number_or_is_encoded_and_never_both(
    tmp_path: Path, registrant: str, *, is_payer: bool | None
) -> None:
    line = PAYER_HEADER + payer(registrant=registrant)
    encodings, postings = rows(tmp_path, line, PAYERS), rows(tmp_path, line, TWIN_POSTINGS)
    assert encodings["encoding_id"].to_list() == ["7"] * bool(is_payer)
    if is_payer is None:
        assert postings.height == 0
    else:
        assert postings["encoding_id"].to_list() == ["7" if is_payer else None]
        assert (postings["person_kind"][0] == "cpr") is (not is_payer and registrant.strip().startswith("61"))


def test_a_row_without_an_id_is_no_payer(tmp_path: Path) -> None:
    lines = payer("", ""), payer("9", "")
    assert payers(tmp_path, *lines)["encoding_id"].to_list() == ["9"]
    assert rows(tmp_path, PAYER_HEADER + "".join(lines), TWIN_POSTINGS)["encoding_id"].to_list() == [None, "9"]


@pytest.mark.parametrize("mapping", [PAYERS, TWIN_POSTINGS])
def test_an_id_that_stands_twice_is_a_bad_row(tmp_path: Path, mapping: str) -> None:
    lines = payer("7"), payer("7", "6101800010"), payer("8"), payer("7")
    assert reasons(payers_examined(tmp_path, *lines, mapping=mapping)) == [(5, "Løbenr", "repeated")]


def test_an_id_that_stands_in_two_files_is_a_bad_row(tmp_path: Path) -> None:
    mapping = load(mapping_file(tmp_path, PAYERS))
    paths = [extract_file(tmp_path, PAYER_HEADER + payer(), name=name) for name in ("a.csv", "b.csv")]
    made = examine(paths, mapping, Period.parse("2014"), unreported, synthetic=True)
    assert made.rejects.select("file", "row", "reason").rows() == [("b.csv", 2, "repeated")]


def test_an_id_with_a_cpr_number_in_it_is_a_bad_row(tmp_path: Path) -> None:
    assert reasons(payers_examined(tmp_path, payer("610180-0010"))) == [(2, "Løbenr", "looks_like_cpr")]


def test_one_posting_of_two_amounts_keeps_its_id(tmp_path: Path) -> None:
    each = TWIN_POSTINGS + "[[each]]\n[[each]]\n" + 'dranst = { value = "2" }\n'
    made = rows(tmp_path, PAYER_HEADER + payer(), each)
    assert made.select("encoding_id", "dranst").rows() == [("7", 1), ("7", 2)]


def test_usable_fields_are_counted_and_records_with_nothing(tmp_path: Path) -> None:
    usable = payers_examined(
        tmp_path,
        payer("1"),
        payer("2", name="Ukendt", born="00-00-0000"),
        payer("3", name="", born="not a date", road="", house="", postcode=""),
        payer("4", name="Carl", born="", road="", house="", postcode=""),
        payer("5", "6101800010"),
    ).usable
    assert usable
    assert (usable.records, usable.without) == (4, 3)  # nobody is compared on an address alone
    assert usable.fields == {
        "given_name": 1,
        "family_name": 2,
        "birth_date": 1,
        "street": 2,
        "house_number": 2,
        "floor_door": 0,
        "postcode": 2,
    }


def test_the_count_of_records_with_nothing_is_that_of_records_without_tokens(tmp_path: Path) -> None:
    lines = [payer(str(n), name=name, born=born, road=road) for n, (name, born, road) in enumerate(
        (name, born, road)
        for name in ("Carl Månestråle", "Carl", "")
        for born in ("03-05-1980", "80", "05-1980", "")
        for road in ("Vandmøllevej", "")
    )]  # fmt: skip
    found, told = payers_examined(tmp_path, *lines).usable, described(tmp_path)
    made = encoded(payers(tmp_path, *lines), told, Encoder(told.schema, KEY))
    assert found
    assert found.without == made.filter(pl.col("tokens").list.len() == 0).height > 0
    for index, name in enumerate(found.fields):
        assert found.fields[name] == made["fields"].list.get(index).count()


def test_encodings_are_a_dataset_of_the_schemas_lengths(tmp_path: Path) -> None:
    told = described(tmp_path)
    lines = [payer(str(n), name="" if n % 2 else "Rosalil") for n in range(4)]
    made = replace(encoded(payers(tmp_path, *lines), told, Encoder(told.schema, KEY)), PAYER_ENCODINGS, pl.DataFrame())
    assert made.schema == PAYER_ENCODINGS.schema
    lengths = [[None if bits is None else len(bits) for bits in row] for row in made["fields"]]
    n_bytes = [field.n_bytes for field in told.schema.fields]
    assert lengths[1][:2] == [None, None]
    assert all(length in (None, n) for row in lengths for length, n in zip(row, n_bytes, strict=True))
    assert set(made["tokens"].explode().drop_nulls().bin.size()) == {8}


def test_encodings_are_the_same_again_and_others_under_another_key(tmp_path: Path) -> None:
    told, made = described(tmp_path), payers(tmp_path, *(payer(str(n)) for n in range(3)))

    def under(key: EncodingKey) -> pl.DataFrame:
        return encoded(made, told, Encoder(told.schema, key))

    assert under(KEY).equals(under(EncodingKey(bytes(range(32)), "familie", 1)))
    other = under(EncodingKey(bytes(range(32)), "familie", 2))
    assert not set(other["tokens"].explode()) & set(under(KEY)["tokens"].explode())


def test_a_registered_person_is_described_and_pseudonymised(tmp_path: Path) -> None:
    text = PERSON_HEADER + "6101800010;Carl;19800101;Møllevej;\n6201800012;Karl;19800102;Møllevej;1\n"
    found, told = examined(tmp_path, text, PERSONS, "utf-8"), described(tmp_path, PERSONS)
    assert [list(texts) for texts in found.identifiers.values()] == [["6101800010", "6201800012"]]
    assert found.usable
    assert (found.usable.fields["street"], found.usable.fields["family_name"]) == (1, 0)
    table = pl.DataFrame(
        {"kind": ["cpr"] * 2, "identifier": ["6101800010", "6201800012"], "element": [b"a" * 32, b"b" * 32]}
    )
    made = encoded(rows(tmp_path, text, PERSONS, "utf-8"), told, Encoder(told.schema, KEY))
    sent = replace(made, PERSON_ENCODINGS, table)
    assert sent.schema == PERSON_ENCODINGS.schema
    assert sent["person"].to_list() == [b"a" * 32, b"b" * 32]


def test_a_person_of_the_register_needs_a_cpr_number(tmp_path: Path) -> None:
    text = PERSON_HEADER + ";Carl;;;\n610180AB12;Carl;;;\n"
    found = examined(tmp_path, text, PERSONS, "utf-8")
    assert reasons(found) == [(2, "PNR", "missing"), (3, "PNR", "not_a_cpr")]


@pytest.mark.parametrize(
    ("form", "text", "read"),
    [
        ("", "800503", "800503"),
        ("yymmdd", "800503", "03-05-80"),
        ('yymmdd", pivot = 30, absent = "', "800503", "1980-05-03"),
        ("mm/dd/yyyy", "05/03/1980", "1980-05-03"),
        ("yyyy", "1980", "1980-00-00"),
        ("mm/dd/yyyy", "03.05.1980", None),
    ],
)
def test_birth_dates_are_read_by_their_form(tmp_path: Path, form: str, text: str, read: str | None) -> None:
    made = rows(tmp_path, PERSON_HEADER + f"6101800010;;{text};;\n", PERSONS.replace("yyyymmdd", form), "utf-8")
    assert made["birth_date"].to_list() == [read]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('schema = "dk-person-1"', 'schema = "dk-person-9"', "unknown; there are dk-person-1, febrl-1"),
        ('schema = "dk-person-1"', "", "unknown; there are dk-person-1"),
        ('{ from = "Navn" }', '{ code = "list", column = "name" }', "full_name names the code list list, which is not"),
        ("full_name", "fullname", "dk-person-1 has no column fullname. It has given_name"),
        ('full_name = { from = "Navn" }', 'full_name = { from = "Navn", date = "yyyy" }', "date is not known"),
        ('["Født", "born"]', '"Født", date = "dd-mm"', "birth_date: the date form 'dd-mm' of a birth date has yyyy"),
        ('["Født", "born"]', '"Født", date = "yyyy-ww"', "the date form"),
        ("full_name", 'given_name.from = "A"\nfamily_name.from = "B"\nfull_name', "Leave it out"),
        ('{ from = "Løbenr" }', "{ }", "lacks from"),
        ("encoding_id =", "# encoding_id =", "needs the column encoding_id"),
        ("[fields]", "tokens.value = 1\n[fields]", "no column tokens to be mapped"),
        (PAYERS[PAYERS.index("full_name") :], "", "lacks the columns of dk-person-1"),
    ],
)
def test_a_wrong_mapping_names_what_is_wrong(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in PAYERS
    with pytest.raises(MappingError, match=says):
        load(mapping_file(tmp_path, PAYERS.replace(old, new, 1)))


@pytest.mark.parametrize("more", ['schema = "dk-person-1"\n', 'fields.full_name.from = "Navn"\n'])
def test_what_is_not_encoded_describes_nobody(tmp_path: Path, more: str) -> None:
    with pytest.raises(MappingError, match="postings holds no encodings"):
        load(mapping_file(tmp_path, more + POSTINGS))


def test_no_name_is_shown_by_what_holds_it(tmp_path: Path) -> None:
    told = described(tmp_path)
    mapping = load(mapping_file(tmp_path, PAYERS))
    path = extract_file(tmp_path, PAYER_HEADER + payer())
    (batch, *_), *_ = validated([path], mapping, Period.parse("2014"), unreported, synthetic=True)
    found = payers_examined(tmp_path, payer())
    try:
        Encoder(told.schema, KEY).encode(records_of(batch.rows, told).rename({"full_name": "navn"}))
    except ValueError:
        said = traceback.format_exc()
    for text in (repr(batch), repr(found), repr(found.usable), said):
        assert "Rosalil" not in text
        assert "Vandmølle" not in text


@pytest.mark.parametrize("mapping", [PAYERS, TWIN_POSTINGS])
def test_an_id_that_is_a_name_is_a_bad_row(tmp_path: Path, mapping: str) -> None:
    lines = payer("A7"), payer("Anne Holm"), payer("ANNE"), payer("Vej 7")
    assert reasons(payers_examined(tmp_path, *lines, mapping=mapping)) == [
        (row, "Løbenr", "no_number") for row in (3, 4, 5)
    ]
