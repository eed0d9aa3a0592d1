"""Linkage schema: what is encoded and how, so that every source encodes alike.

1. A schema is a file of `schemas/`. Its id is its name and a digest of all it says, of the normalisation rules that it
   names and of `ENCODER`: whoever encodes under the same id makes the same bits of the same value and key.
2. A field has one encoding of fixed length, null where the value is missing. Fields with the same `key` are encoded
   alike, so that swapped ones can be compared; they must agree in everything that shapes bits.
3. A token is made of one form of each of several fields, under a key of its own. A record lacks the tokens of which a
   part is missing. Nothing in a token tells which rule made it.
4. `describes` says what a field tells apart: one person, a family by its name, an address.

It knows no keys and no values.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import Any, Final

import polars as pl

ENCODER: Final = 1
"""The version of the code between a normalised value and its bits: a change of bits makes it another one."""
TOKEN_BYTES: Final = 8
RECORD: Final = "record"
TOKENS: Final = "tokens"

_PACKAGE: Final = "kinlink.encoding"
_NAME: Final = re.compile("[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_WORD_BYTES: Final = 8  # a linker compares words of 64 bits
_HASH_LIMIT: Final = 32  # 16-bit words in one BLAKE2b digest; bits is a power of two, so that they divide evenly
_GRAM_LIMIT: Final = 3  # characters of 21 bits in a 64-bit word


class SchemaError(ValueError):
    """A linkage schema is unknown or contradicts itself; names the field and the expected form."""


class EncodedFrameError(ValueError):
    """A frame is not what its schema says; names the column and the expected form, never a value."""


class Describes(StrEnum):
    """What a field tells apart."""

    PERSON = "person"
    FAMILY = "family"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a person and its bits.

    `kind` names the normalisation rules. `gram` is how many characters are hashed together, `positional` whether with
    their place. `hashes` bits of a filter of `bits` are set for each.
    """

    name: str
    kind: str
    describes: Describes
    gram: int
    positional: bool
    bits: int
    hashes: int
    key: str

    @property
    def n_bytes(self) -> int:
        """How long each encoding is."""
        return self.bits // 8


@dataclass(frozen=True, slots=True)
class Part:
    """What of a field goes into a token: a form of its normalised value, as `normalise.FORMS` has them."""

    field: str
    form: str


@dataclass(frozen=True, slots=True)
class TokenRule:
    """A blocking rule: records that agree on all parts get the same token. `unordered` parts may be swapped."""

    name: str
    parts: tuple[Part, ...]
    unordered: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class LinkageSchema:
    """A schema. `taps` is of how many filter bits each encoded bit is the exclusive or; 1 is no diffusion.

    `swapped` are pairs of fields that sources mix up, each pair under one key.
    """

    name: str
    digest: str
    normalisation: str
    taps: int
    fields: tuple[Field, ...]
    swapped: tuple[tuple[str, str], ...]
    tokens: tuple[TokenRule, ...]

    @property
    def id(self) -> str:
        """Return what a delivery names, such as "dk-person-1.0123456789abcdef"."""
        return f"{self.name}.{self.digest[:16]}"

    def field(self, name: str) -> Field:
        """Return a field.

        Raises:
            SchemaError: there is none of this name.
        """
        for field in self.fields:
            if field.name == name:
                return field
        raise SchemaError(f"schema {self.id} has no field {name}; it has {', '.join(f.name for f in self.fields)}")

    def frame_schema(self) -> pl.Schema:
        """Return the columns of an encoded frame, a row being a record of a source.

        `record` is the source's id of it (String, unique, not null). Each field has a Binary column of `n_bytes`, null
        where missing. `tokens` is List(Binary) of distinct tokens of TOKEN_BYTES, ascending, not null, may be empty.
        """
        encodings = {field.name: pl.Binary() for field in self.fields}
        return pl.Schema({RECORD: pl.String(), **encodings, TOKENS: pl.List(pl.Binary())})


def check_frame(frame: pl.DataFrame, schema: LinkageSchema) -> pl.DataFrame:
    """Return the frame if it is encoded as the schema says: columns, types, lengths, unique records.

    Raises:
        EncodedFrameError: it is not; names the first column at fault.
    """
    for name, dtype in schema.frame_schema().items():
        if name not in frame.columns:
            raise EncodedFrameError(f"column {name} is missing; schema {schema.id} has it. Encode under this schema.")
        if frame.schema[name] != dtype:
            raise EncodedFrameError(f"column {name} is {frame.schema[name]}; expected {dtype}")
    if len(frame.columns) != len(schema.frame_schema()):
        extra = sorted(set(frame.columns) - set(schema.frame_schema()))
        raise EncodedFrameError(f"columns that schema {schema.id} does not have: {', '.join(extra)}. Leave them out.")
    if frame[RECORD].null_count() or frame[RECORD].n_unique() != frame.height:
        raise EncodedFrameError("column record must be unique and not null")
    for field in schema.fields:
        if not frame.select((pl.col(field.name).bin.size() == field.n_bytes).all()).item():
            raise EncodedFrameError(f"column {field.name} must hold {field.n_bytes} bytes in each row, or null")
    if frame[TOKENS].null_count():
        raise EncodedFrameError("column tokens must not be null; a record without tokens has an empty list")
    tokens = frame[TOKENS].explode(empty_as_null=False, keep_nulls=False)
    if not (tokens.is_not_null() & (tokens.bin.size() == TOKEN_BYTES)).all():
        raise EncodedFrameError(f"column tokens must hold lists of {TOKEN_BYTES} bytes each")
    return frame


def names() -> tuple[str, ...]:
    """Return the names of the schemas there are, sorted."""
    folder = resources.files(_PACKAGE) / "schemas"
    return tuple(sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml")))


def find(identifier: str) -> LinkageSchema:
    """Return the schema of a name, or of an id, which must be that of the same content.

    Raises:
        SchemaError: there is none of this name, or it says something else here.
    """
    name, _, _ = identifier.partition(".")
    if name not in names():
        raise SchemaError(f"linkage schema {name!r} is unknown; there are {', '.join(names())}")
    schema = read((resources.files(_PACKAGE) / "schemas" / f"{name}.toml").read_text(encoding="utf-8"))
    if identifier not in {name, schema.id}:
        raise SchemaError(f"linkage schema {identifier} is another version; this one is {schema.id}. Encode under it.")
    return schema


def read(text: str) -> LinkageSchema:
    """Read a schema from TOML.

    Raises:
        SchemaError: it is not TOML, or lacks or contradicts something; names the field.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SchemaError(f"the linkage schema is not TOML: {error}") from None
    name = _value(document, "name", str, "the schema")
    if not _NAME.fullmatch(name):
        raise SchemaError("name must be lower-case letters, digits and hyphens")
    normalisation = _value(document, "normalisation", str, "the schema")
    fields = tuple(_field(entry, index) for index, entry in enumerate(_value(document, "fields", list, "the schema")))
    rules = tuple(_rule(entry, index) for index, entry in enumerate(_value(document, "tokens", list, "the schema")))
    swapped = tuple(_pair(pair) for pair in _value(document, "swapped", list, "the schema"))
    _refuse_unknown(document, {"name", "normalisation", "taps", "fields", "tokens", "swapped"}, "the schema")
    taps = _number(document, "taps", "the schema", 1, 8)
    schema = LinkageSchema(name, _digest(document, normalisation), normalisation, taps, fields, swapped, rules)
    _check(schema)
    return schema


def rules_text(normalisation: str) -> str:
    """Return the text of a set of normalisation rules.

    Raises:
        SchemaError: there is none of this name.
    """
    file = resources.files(_PACKAGE) / "normalisation" / f"{normalisation}.toml"
    if not _NAME.fullmatch(normalisation) or not file.is_file():
        raise SchemaError(f"normalisation {normalisation!r} is unknown; give the name of a file of normalisation/")
    return file.read_text(encoding="utf-8")


def _digest(document: dict[str, Any], normalisation: str) -> str:
    content = [ENCODER, document, tomllib.loads(rules_text(normalisation))]
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _field(entry: Any, index: int) -> Field:
    name = _value(entry, "name", str, f"fields[{index}]")
    place = f"field {name}"
    if not _NAME.fullmatch(name) or name in {RECORD, TOKENS}:
        raise SchemaError(f"{place}: name must be lower-case letters, digits and underscores, not {RECORD} or {TOKENS}")
    try:
        describes = Describes(_value(entry, "describes", str, place))
    except ValueError:
        raise SchemaError(f"{place}: describes must be one of {', '.join(Describes)}") from None
    bits = _number(entry, "bits", place, 64, 4096)
    if bits & (bits - 1):
        raise SchemaError(f"{place}: bits must be a power of two")
    _refuse_unknown(entry, {"name", "kind", "describes", "gram", "positional", "bits", "hashes", "key"}, place)
    return Field(
        name,
        _value(entry, "kind", str, place),
        describes,
        _number(entry, "gram", place, 1, _GRAM_LIMIT),
        _value(entry, "positional", bool, place) if "positional" in entry else False,
        bits,
        _number(entry, "hashes", place, 1, _HASH_LIMIT),
        _value(entry, "key", str, place) if "key" in entry else name,
    )


def _rule(entry: Any, index: int) -> TokenRule:
    name = _value(entry, "name", str, f"tokens[{index}]")
    place = f"token {name}"
    _refuse_unknown(entry, {"name", "parts", "unordered"}, place)
    parts, unordered = (
        tuple(_part(text, place) for text in (_value(entry, key, list, place) if key in entry else ()))
        for key in ("parts", "unordered")
    )
    if not parts and not unordered:
        raise SchemaError(f"{place}: parts must not be empty")
    if len(unordered) not in {0, 2}:
        raise SchemaError(f"{place}: unordered must be two parts")
    return TokenRule(name, parts, unordered)


def _pair(pair: Any) -> tuple[str, str]:
    if not isinstance(pair, list) or len(pair) != 2:
        raise SchemaError("the schema: swapped must be a list of pairs of fields")
    return str(pair[0]), str(pair[1])


def _part(text: Any, place: str) -> Part:
    field, _, form = str(text).partition(".")
    if not field or not form:
        raise SchemaError(f"{place}: a part is written field.form")
    return Part(field, form)


def _check(schema: LinkageSchema) -> None:
    for what, names in (("field", [f.name for f in schema.fields]), ("token", [r.name for r in schema.tokens])):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SchemaError(f"{what} {twice[0]} stands twice")
    if not schema.fields or not schema.tokens:
        raise SchemaError("a schema needs at least one field and one token")
    shapes: dict[str, tuple[object, ...]] = {}
    for field in schema.fields:
        shape = (field.gram, field.positional, field.bits, field.hashes)
        if shapes.setdefault(field.key, shape) != shape:
            raise SchemaError(f"field {field.name}: gram, positional, bits, hashes differ from others of its key")
    for rule in schema.tokens:
        for part in rule.parts + rule.unordered:
            schema.field(part.field)
    for first, second in schema.swapped:
        if first == second or schema.field(first).key != schema.field(second).key:
            raise SchemaError(f"field {first}: swapped fields are two of the same key")


def _value(entry: Any, key: str, kind: type, place: str) -> Any:
    if not isinstance(entry, dict):
        raise SchemaError(f"{place} must be a table")
    if key not in entry:
        raise SchemaError(f"{place}: {key} is missing")
    if not isinstance(entry[key], kind) or (kind is int and isinstance(entry[key], bool)):
        raise SchemaError(f"{place}: {key} must be a {kind.__name__}")
    return entry[key]


def _number(entry: Any, key: str, place: str, least: int, most: int) -> int:
    number: int = _value(entry, key, int, place)
    if not least <= number <= most:
        raise SchemaError(f"{place}: {key} must be {least} to {most}")
    return number


def _refuse_unknown(entry: dict[str, Any], known: set[str], place: str) -> None:
    if unknown := sorted(set(entry) - known):
        raise SchemaError(f"{place}: {unknown[0]} is unknown; expected {', '.join(sorted(known))}")
