"""Signs the log now and then, and sends what was signed to its second places.

1. After so many entries, after so many seconds, when somebody was shown a checkpoint, and at the end.
2. What fails closed is the log itself. A second place that is away stops nothing: when that begins
   and when it ends are entries (ANCHOR_UNAVAILABLE, ANCHOR_UNREADABLE), it is a metric, and health of
   "kinlink.audit.anchors" is NOT_SERVING meanwhile. Each round sends the newest checkpoint again.
3. A place that holds another history under this log's name is another matter: an anchor's is the
   service's own signature, so the log fails for good (see `checkpoints`); a witness's word is an
   alarm (LOG_FORKED), since a stranger must not be able to stop a service.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Protocol

import structlog
from opentelemetry import metrics
from sqlalchemy.exc import SQLAlchemyError

from kinlink.audit import note
from kinlink.audit.note import Checkpoint
from servicekit.anchors import Anchor, AnchorConflictError, AnchorError
from servicekit.audit.checkpoints import Checkpoints, anchored_name
from servicekit.audit.entry import AuditEntry
from servicekit.audit.log import AuditLog
from servicekit.audit.witness import WitnessError
from servicekit.errors import UnavailableError

_log = structlog.get_logger(__name__)
_away = metrics.get_meter("servicekit").create_up_down_counter(
    "kinlink.audit.anchors.away", "{place}", "Anchors and witnesses of the log that do not take checkpoints."
)


class Place(Protocol):
    """Where checkpoints are sent."""

    @property
    def uri(self) -> str: ...
    def send(self, signed: str) -> None: ...


class AnchoredPlace:
    """An anchor as a place of checkpoints."""

    def __init__(self, anchor: Anchor) -> None:
        """Write to `anchor`."""
        self._anchor = anchor
        self.uri = anchor.uri

    def send(self, signed: str) -> None:
        """Write the checkpoint under its service and size. Raises AnchorError."""
        checkpoint = Checkpoint.parse(note.parse(signed).text)
        self._anchor.write(anchored_name(checkpoint.origin, checkpoint.size), signed.encode())


class Checkpointer:
    """The background work of one service's log."""

    def __init__(
        self, log: AuditLog, checkpoints: Checkpoints, places: Sequence[Place], every_entries: int, every_s: float
    ) -> None:
        """Send the checkpoints of `log` to `places`."""
        self._log = log
        self._checkpoints = checkpoints
        self._places = places
        self._every_entries = every_entries
        self._every_s = every_s
        self._sent: dict[str, int] = {}
        self._failing: dict[tuple[str, str], str] = {}  # by place and what fails
        self._new = 0
        self._shown = ""
        self._lock = Lock()
        self._round_lock = Lock()
        self._due = Event()
        self._stopped = False
        self._thread = Thread(target=self._work, name="checkpointer", daemon=True)
        log.on_append = self._appended

    @property
    def failing(self) -> bool:
        """Whether a place does not take checkpoints, or cannot be compared with."""
        return bool(self._failing)

    def start(self) -> None:
        """Begin; the first round is at once, so that what is wrong shows at the start."""
        self._due.set()
        self._thread.start()

    def shown(self, signed: str) -> None:
        """Send a checkpoint that somebody was shown, as it is, in the background.

        Not a newer one: an export would then always end before what is anchored, and could not bring a log back.
        """
        self._shown = signed
        self._due.set()

    def stop(self) -> None:
        """Sign and send what came last, and end."""
        self._stopped = True
        self._due.set()
        if self._thread.is_alive():
            self._thread.join()

    def round(self) -> None:
        """Sign, and send to every place that has not got it. Raises nothing."""
        with self._lock:
            self._new = 0
        try:
            signed = self._checkpoints.sign()
        except UnavailableError as error:  # the log is failing: it has said so itself
            _log.warning("no checkpoint was signed", cause=error.metadata.get("cause", error.reason))
        except SQLAlchemyError as error:
            self._log.fail(error)
        else:
            self._send_everywhere(signed)

    def compared(self, anchor: Anchor, done: bool) -> None:
        """Take note of whether the log could be compared with an anchor."""
        self._note(anchor.uri, "reading", "" if done else "ANCHOR_UNREADABLE")

    def _send_everywhere(self, signed: str) -> None:
        size = Checkpoint.parse(note.parse(signed).text).size
        with self._round_lock:
            for place in self._places:
                if self._sent.get(place.uri, -1) < size or (place.uri, "writing") in self._failing:
                    self._send(place, signed, size)

    def _send(self, place: Place, signed: str, size: int) -> None:
        try:
            place.send(signed)
        except AnchorConflictError as error:
            told = "the log has another history than its anchor"
            self._log.fail_for_good(f"{told}: {error}", told)
            return
        except (AnchorError, WitnessError) as error:
            _log.warning("a checkpoint was not taken", place=place.uri, size=size, cause=str(error))
            self._note(place.uri, "writing", error.reason if isinstance(error, WitnessError) else "ANCHOR_UNAVAILABLE")
            return
        except Exception as error:  # noqa: BLE001 - a place must never end the thread
            _log.warning("a checkpoint was not taken", place=place.uri, size=size, cause=type(error).__name__)
            self._note(place.uri, "writing", "ANCHOR_UNAVAILABLE")
            return
        self._sent[place.uri] = size
        self._note(place.uri, "writing", "")

    def _note(self, uri: str, act: str, reason: str) -> None:
        """Write an entry when a place begins or ceases to fail."""
        with self._lock:
            before = self._failing.pop((uri, act), "")
            if reason:
                self._failing[uri, act] = reason
        if reason == before:
            return
        if bool(before) != bool(reason):
            _away.add(1 if reason else -1)
        self._log.set_anchored(not self._failing)
        entry = AuditEntry("log.anchor", "", "failed" if reason else "ok", reason, subject=f"{act} {uri}")
        with suppress(UnavailableError):  # the log says so itself
            self._log.append(entry)

    def _appended(self) -> None:
        with self._lock:
            self._new += 1
            due = self._new >= self._every_entries
        if due:
            self._due.set()

    def _work(self) -> None:
        while True:
            self._due.wait(self._every_s)
            self._due.clear()
            is_last = self._stopped  # a round that was under way before does not hold what came last
            shown, self._shown = self._shown, ""
            if shown and not is_last:
                self._send_everywhere(shown)
            else:
                self.round()
            if is_last:
                return
