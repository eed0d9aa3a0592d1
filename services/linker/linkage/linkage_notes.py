"""What an operator is told about a linkage by encodings: a sentence each, with what to do next.

Pure. It holds no value of a record: names of fields, sources and periods, and how many.
"""

from __future__ import annotations

from collections.abc import Sequence

from linker.linkage.fuzzy.drift import Alarm, Drift

_MANY = 0.5  # share of records without a token in use that is worth a sentence


class Notes:
    """Sentences in the order in which they were said."""

    def __init__(self) -> None:
        """Begin with none."""
        self.sentences: list[str] = []

    def unchanged(self, snapshot: int) -> str:
        """Return that links were not made again."""
        return f"Nothing that links are made from has changed since snapshot {snapshot}: its links stand."

    def no_register(self) -> None:
        """Say that there is nobody to link to."""
        self._say(
            "Nothing was linked by encodings: the register's are not here. Deliver person_encodings, then run again."
        )

    def encode_anew(self, deliveries: Sequence[tuple[str, str]]) -> None:
        """Name deliveries (source, period) that the register's encodings cannot be compared with."""
        if deliveries:
            named = ", ".join(f"{source} {period}" for source, period in sorted(set(deliveries)))
            self._say(
                "Not compared, since the register is encoded under another linkage schema or key version: "
                f"payer_encodings of {named}. Encode and deliver them anew; earlier links of theirs stand."
            )

    def reused(self, sources: Sequence[tuple[str, int]]) -> None:
        """Name sources, with how many, whose record ids stand in postings of several deliveries."""
        for source, count in sources:
            self._say(
                f"Not linked: {count} records of {source}, whose ids stand in postings of several deliveries. A record "
                "id must name one record for ever: deliver postings and encodings anew, each record with an id of its "
                "own."
            )

    def not_of_these_postings(self, deliveries: Sequence[tuple[str, ...]]) -> None:
        """Name deliveries (why, dataset, source, period) whose records may be others than those of the postings.

        Why: `older` than the postings as they are now; `ahead` of them, as they took the place of others while the
        postings stayed.
        """
        for why, dataset, source, period in deliveries:
            if why == "older":
                self._say(
                    f"Not used: {dataset} of {source} {period}. They are older than the postings, or than the "
                    "withdrawal of some, and numbers may name other records now. "
                    f"Deliver {dataset} of {source} {period} again, from the extract of the postings; "
                    "the same file will do if it is of that extract."
                )
            else:
                self._say(
                    f"Not used: {dataset} of {source} {period}. They took the place of others, and the postings stayed "
                    f"as they were. Deliver the postings of {source} {period} again, from the extract of the payers; "
                    "the same file will do if it is of that extract."
                )

    def nothing_linked(self, error: Exception) -> None:
        """Say why no model or no comparison was made."""
        self._say(f"Nothing was linked by encodings: {error}. Earlier links stand.")

    def few_records(self, *, kept: bool) -> None:
        """Say which model stood in for one of this run's own."""
        used = "the model of an earlier run was used" if kept else "what the linkage schema expects was used"
        self._say(f"There are too few records for a model of their own: {used}.")

    def moved(self, alarms: Sequence[Alarm]) -> None:
        """Say what is otherwise than at the last model."""
        for alarm in alarms:
            match alarm.drift:
                case Drift.FIELD:
                    self._say(
                        f"Field {alarm.field}: how alike it is among records of one person moved by "
                        f"{alarm.moved:.2f} since the last model. Ask the sources whether they fill it in otherwise."
                    )
                case Drift.COMPARED:
                    self._say(
                        f"Field {alarm.field}: it has values on both sides now and had not before, or the reverse."
                    )
                case Drift.MATCHES:
                    self._say(
                        f"Matches for each record moved by {alarm.moved:+.2f} since the last model. Look whether the "
                        "register or a source lacks part of its rows."
                    )

    def empty_fields(self, names: Sequence[str]) -> None:
        """Name fields without a value on either side."""
        if names:
            self._say(f"Not compared, since the register or all records lack them: {', '.join(names)}.")

    def unblocked(self, count: int, records: int) -> None:
        """Say that many records share nothing with anybody that is rare enough to look at."""
        if count > _MANY * records:
            self._say(
                "More than half of the records agree with nobody in enough to be looked at. Look whether they lack "
                "names, birth dates or addresses."
            )

    def _say(self, sentence: str) -> None:
        self.sentences.append(sentence)
