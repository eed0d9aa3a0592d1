"""What the acceptance tests know of the running town; the fixture `town` is in `tests/conftest.py`."""

from tests.conftest import Town as Town  # noqa: PLC0414 - read from here
