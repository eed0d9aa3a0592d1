"""The whole way of a delivery: examine, pseudonymise, encode, send. Each stage is a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from kinlink.blinding import Progress
from kinlink.delivery.describe import encoded
from kinlink.delivery.examine import Examination, stamps_of, validated
from kinlink.delivery.mapping import Mapping
from kinlink.delivery.period import Period
from kinlink.delivery.pseudonymise import Prepared, evaluate, prepare
from kinlink.encoding.encode import Encoder
from kinlink.encoding_key_client import EncodingKeyClient
from kinlink.errors import ConflictError, InputError, RefusedError
from kinlink.intake_client import IntakeClient, Receipt
from kinlink.linker.v1 import intake_service_pb2 as pb
from kinlink.pseudonymizer_client import PseudonymizerClient
from kinlink.pseudonyms import Suite
from kinlink.types.v1.types_pb2 import SUITE_UNSPECIFIED, KeyRef

_KEY_LEFT = ("KEY_VERSION_CLOSED", "KEY_VERSION_INACTIVE")

Stages = Callable[[str], Progress]
"""Opens a stage by name; returns where its progress is reported."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A delivery that the linker has accepted, and what was sent."""

    receipt: Receipt
    keys: tuple[KeyRef, ...]
    chunks: int
    size: int


@dataclass(frozen=True, slots=True)
class Doors:
    """Open channels to both services, and who calls: the source of the certificate.

    `purpose` is what encodings are made for, as in the domain linkage/<purpose>; "" where nothing is encoded.
    """

    source: str
    suite: Suite
    pseudonymizer: grpc.Channel
    linker: grpc.Channel
    purpose: str = ""


def period_of(mapping: Mapping, period: str | None) -> Period:
    """Return the period asked for, else the mapping's. Raises InputError when neither says one."""
    text = period or mapping.period
    if not text:
        raise InputError("No period: give --period, for example --period 2014.", "PERIOD_MISSING")
    return Period.parse(text)


def check_source(mapping: Mapping, source: str) -> None:
    """Refuse an extract of one system under the certificate of another: it would be counted under both.

    Raises:
        RefusedError: OTHER_SOURCE, the mapping names another source.
    """
    if mapping.source not in ("", source):
        raise RefusedError(
            f"The mapping {mapping.path.name} is for {mapping.source}, and the certificate is {source}'s. "
            f"Give --config for {mapping.source}, or the mapping of {source}.",
            "OTHER_SOURCE",
        )


def check_purpose(mapping: Mapping, purpose: str) -> None:
    """Refuse to begin what needs an encoding key when nothing says for which purpose.

    Raises:
        InputError: PURPOSE_MISSING.
    """
    if mapping.described and not purpose:
        raise InputError(
            'No purpose to encode for: add a line such as purpose = "familie" to kinlink.toml. The linker\'s operator '
            "knows its name.",
            "PURPOSE_MISSING",
        )


def send(
    examination: Examination, paths: Sequence[Path], mapping: Mapping, period: Period, doors: Doors, stages: Stages
) -> Sent:
    """Pseudonymise or encode, and deliver, files that were examined and found sound.

    The files are read a second time, so that no more than a block of rows and the
    distinct identifiers are ever in memory. Where the linker has left a key version
    meanwhile, all is done once more, under the new one.

    Raises:
        ExtractError: a file changed since it was examined.
        KinlinkError: a service refused, or stayed away; running again resumes.
    """
    try:
        return _send(examination, paths, mapping, period, doors, stages)
    except ConflictError as error:
        if error.reason not in _KEY_LEFT:
            raise
        return _send(examination, paths, mapping, period, doors, stages)


def _send(
    examination: Examination, paths: Sequence[Path], mapping: Mapping, period: Period, doors: Doors, stages: Stages
) -> Sent:
    dataset, described = mapping.dataset, mapping.described
    synthetic = doors.suite.synthetic
    pseudonymizer = PseudonymizerClient(doors.pseudonymizer, domain=f"source/{doors.source}", suite=doors.suite)
    encoder = None
    encoding_keys: list[KeyRef] = []
    if described and examination.delivered:
        key, name = EncodingKeyClient(doors.pseudonymizer, doors.purpose).fetch(described.schema.id)
        encoder, encoding_keys = Encoder(described.schema, key), [name]
    table, keys = evaluate(examination.identifiers, pseudonymizer, stages("pseudonymise"))
    with Prepared.new() as prepared:
        batches = validated(paths, mapping, period, stages("encode" if encoder else "prepare"), synthetic=synthetic)
        rows = (batch.rows for batch, _, _ in batches if batch.rows.height)
        if described and encoder:
            rows = (encoded(part, described, encoder) for part in rows)
        prepare(rows, dataset, table, prepared)
        # A row that is new to this reading has a person whom nobody pseudonymised, who would be lost.
        if stamps_of(paths) != examination.stamps or prepared.rows != examination.delivered:
            raise InputError("The extract changed between two readings. Run again when it is complete.", "CHANGED")
        header = pb.DeliveryHeader(
            dataset=dataset.number,
            period=period.text,
            suite=doors.suite.wire if dataset.pseudonym_columns else SUITE_UNSPECIFIED,
            keys=[*keys, *encoding_keys],
            rows=prepared.rows,
            chunks=prepared.chunks,
            digest=prepared.digest,
            rejected_rows=examination.rejected,
            schema_id=described.schema.id if described else "",
        )
        receipt = IntakeClient(doors.linker).deliver(header, prepared.chunk, stages("upload"))
        return Sent(receipt, (*keys, *encoding_keys), prepared.chunks, prepared.size)
