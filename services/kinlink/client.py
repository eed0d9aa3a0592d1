"""The Python client of a source system: pseudonyms and deliveries in three lines.

client = Client.from_config(Path("kinlink.toml"))
frame = client.pseudonymise(frame, "cpr")
client.deliver([Path("posteringer.csv")], Path("prisme.toml"), period="2014")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kinlink.blinding import Progress, unreported
from kinlink.client_config import ClientConfig
from kinlink.delivery.deliver import Doors, Sent, check_purpose, check_source, period_of, send
from kinlink.delivery.examine import examine
from kinlink.delivery.mapping_file import load
from kinlink.pseudonymizer_client import PseudonymizerClient
from kinlink.pseudonyms import Kind

if TYPE_CHECKING:
    import polars as pl


class Client:
    """Speaks to both services as the source of one certificate. Use it in a `with`, or close it."""

    def __init__(self, config: ClientConfig) -> None:
        """Open channels; they connect at the first call. Raises CertificateExpiredError, RefusedError, InputError."""
        self._doors = Doors(
            config.source(), config.suite, config.pseudonymizer_channel(), config.linker_channel(), config.purpose
        )

    @classmethod
    def from_config(cls, path: Path | None = None) -> Self:
        """Read `kinlink.toml` and open channels. Raises as ClientConfig.load and __init__."""
        return cls(ClientConfig.load(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channels."""
        self._doors.pseudonymizer.close()
        self._doors.linker.close()

    def pseudonymise(
        self, frame: pl.DataFrame, column: str, kind: Kind = Kind.CPR, progress: Progress = unreported
    ) -> pl.DataFrame:
        """Return the frame with a column of identifiers replaced by pseudonyms (Binary, 32 bytes).

        They stand under the source's primary key; `PseudonymizerClient.pseudonymise` names its version as well.

        Raises:
            IdentifierError: rows without an identifier of this kind; names rows, not values.
            KinlinkError: the service refused, or is away.
        """
        client = PseudonymizerClient(
            self._doors.pseudonymizer, domain=f"source/{self._doors.source}", suite=self._doors.suite
        )
        return client.pseudonymise(frame, column, kind, progress)[0]

    def deliver(self, extract: Sequence[Path], mapping: Path, period: str | None = None) -> Sent:
        """Deliver an extract by its mapping; return when the linker has accepted it.

        Raises:
            InputError, LimitError: the extract or the mapping is at fault; nothing was sent.
            RefusedError: the mapping is another source's.
            KinlinkError: a service refused, or is away; calling again resumes.
        """
        found = load(mapping)
        check_source(found, self._doors.source)
        check_purpose(found, self._doors.purpose)
        covered = period_of(found, period)
        examination = examine(extract, found, covered, unreported, synthetic=self._doors.suite.synthetic)
        examination.check(found)
        return send(examination, extract, found, covered, self._doors, lambda _name: unreported)
