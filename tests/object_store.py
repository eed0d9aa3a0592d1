"""An object store for tests: moto's HTTP server plays S3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from moto.server import ThreadedMotoServer

REGION = "eu-north-1"


@contextmanager
def served() -> Iterator[str]:
    """Yield the address of an object store without buckets."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def make_bucket(address: str, name: str) -> None:
    """Make a bucket."""
    answer = requests.put(f"{address}/{name}", headers={"Authorization": "AWS test:test"}, timeout=10)
    answer.raise_for_status()


def environment(address: str) -> dict[str, str]:
    """Return the environment in which a client finds it."""
    values = {"ENDPOINT_URL": address, "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "REGION": REGION}
    return {f"AWS_{name}": value for name, value in values.items()}
