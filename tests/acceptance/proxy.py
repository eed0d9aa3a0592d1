"""A connection that can be cut: a TCP proxy in this process, which knows nothing of what it carries."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """Carries bytes between its own port and `target`, "host:port"."""

    target: str
    listener: socket.socket
    _open: list[socket.socket] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Where to connect to."""
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def cut(self) -> None:
        """Break all connections; new ones are carried again."""
        while self._open:
            with suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def carry(self) -> None:
        """Take connections until the listener is closed."""
        host, _, port = self.target.rpartition(":")
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection((host, int(port)))
            self._open += [near, far]
            for ends in ((near, far), (far, near)):
                threading.Thread(target=_pour, args=ends, daemon=True).start()


def _pour(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    source.close()


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """Carry connections to `target` until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        carried = Proxy(target, listener)
        thread = threading.Thread(target=carried.carry, daemon=True)
        thread.start()
        yield carried
        listener.shutdown(socket.SHUT_RDWR)
        carried.cut()
    thread.join()
