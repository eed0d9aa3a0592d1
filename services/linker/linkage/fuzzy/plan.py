"""What is compared: the encoded fields of a linkage schema, what each is evidence of, and where its levels begin.

1. Two values of a field have one level: null (either is missing), equal (the same bits), four bands of the Dice
   coefficient, else; a record's given and family name that agree crosswise have the level swapped.
2. The Dice coefficient is that of the filters before diffusion, reckoned back (`comparison`), so the same bands serve
   every schema.
3. A field is evidence of the person (given name, birth date), of the family (surname) or of the address. The classes
   of pairs (`classes`) differ in which of these agree.
4. Equal texts that few persons have count for more than common ones; digits do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from kinlink.encoding.schema import Describes, LinkageSchema
from kinlink.encoding.schema import Field as SchemaField

BANDS = (0.90, 0.80, 0.70, 0.60)  # least Dice coefficient of the levels BAND_1 to BAND_4


class Level(IntEnum):
    """How alike two values of one field are."""

    NULL = 0
    EQUAL = 1
    BAND_1 = 2
    BAND_2 = 3
    BAND_3 = 4
    BAND_4 = 5
    ELSE = 6
    SWAPPED = 7


class Evidence(StrEnum):
    """What a field tells about."""

    GIVEN_NAME = "given_name"
    SURNAME = "surname"
    BIRTH_DATE = "birth_date"
    ADDRESS = "address"


_SWAPPED = (Evidence.GIVEN_NAME, Evidence.SURNAME)


@dataclass(frozen=True, slots=True)
class Field:
    """One encoded field. `length`: bytes of each value. `by_frequency`: equal values that few have count for more."""

    name: str
    length: int
    evidence: Evidence
    by_frequency: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The fields in order; `schema_id` of the linkage schema they come from. `taps` of its diffusion, 1 is none.

    `swap`: names of the given-name and the surname field whose filters are comparable crosswise, or None.
    """

    schema_id: str
    fields: tuple[Field, ...]
    taps: int = 1
    swap: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if names repeat, there are more than 20 fields, or a field to swap is not among them."""
        names = {field.name for field in self.fields}
        if len(names) < len(self.fields) or not 2 <= len(names) <= 20:
            raise ValueError("give 2 to 20 fields with names of their own")
        if self.swap and not set(self.swap) <= names:
            raise ValueError("swap must name two of the fields")

    def index(self, name: str) -> int:
        """Return the position of a field."""
        return [field.name for field in self.fields].index(name)


def plan_of(schema: LinkageSchema) -> Plan:
    """Return what of a linkage schema the linker needs."""
    fields = tuple(
        Field(field.name, field.n_bytes, _evidence(field), by_frequency=not field.positional) for field in schema.fields
    )
    evidence = {field.name: field.evidence for field in fields}
    swaps = [pair for pair in schema.swapped if [evidence[name] for name in pair] == [*_SWAPPED]]
    return Plan(schema.id, fields, schema.taps, swaps[0] if swaps else None)


def _evidence(field: SchemaField) -> Evidence:
    match field.describes:
        case Describes.PERSON:
            return Evidence.BIRTH_DATE if field.kind == "date" else Evidence.GIVEN_NAME
        case Describes.FAMILY:
            return Evidence.SURNAME
        case Describes.ADDRESS:
            return Evidence.ADDRESS
