"""The start of a service: its files are its owner's only, and when it fails it says so in one message.

1. What the service raises to stop the start is said as it is; it names settings, never values.
2. Of anything else only the type is said, and of a system error the path: the text may hold a
   value, such as the password in a database URL.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from servicekit.audit.causes import cause_of
from servicekit.database import SchemaError
from servicekit.logs import describe_exception


@contextmanager
def one_message(service: str, known: tuple[type[Exception], ...]) -> Iterator[None]:
    """Run the block; when it raises, write one message to standard error and exit with status 2."""
    os.umask(0o077)
    try:
        yield
    except known as error:
        message = str(error)
    except SchemaError as error:
        message = f"database_url: {error}"
    except SQLAlchemyError as error:
        message = (
            f"database_url: the state database cannot be used: {cause_of(error)}; is it there, and may it be written?"
        )
    except OSError as error:
        message = f"{error.filename or 'the system'}: {error.strerror or type(error).__name__}"
    except Exception as error:  # noqa: BLE001 - the end of the process; a traceback would show texts
        told = describe_exception(error)
        message = f"cannot start: {told['exception.type']} at {told['exception.places']}"
    else:
        return
    sys.stderr.write(f"{service}: {message}\n")
    raise SystemExit(2)
