"""What a recorded service was sent: its messages by RPC, as they came."""

from __future__ import annotations

import json
import sys
from base64 import b64decode
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from examples.stack import Stack

_SERVICE = Path(__file__).with_name("recording_service.py")


def recording(capture: Path) -> tuple[str, ...]:
    """Return the wrapper with which `Stack.start` runs a service that keeps what it is sent."""
    return sys.executable, str(_SERVICE), str(capture)


@dataclass(frozen=True)
class Recorded:
    """Both services, and everything that the pseudonymizer is sent, as it came."""

    stack: Stack
    capture: Path

    def messages(self, rpc: str) -> list[bytes]:
        """Return the messages of an RPC, in the order in which they came."""
        return [message for name, message in self.all() if name == rpc]

    def all(self) -> list[tuple[str, bytes]]:
        """Return every message with its RPC."""
        lines = map(json.loads, self.capture.read_text(encoding="ascii").splitlines())
        return [(line["rpc"], b64decode(line["message"])) for line in lines]

    def counts(self) -> Counter[str]:
        """Return how many messages came for each RPC."""
        return Counter(name for name, _ in self.all())
