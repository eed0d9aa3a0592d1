"""A service that keeps every message it is sent, as it came: what whoever holds the pseudonymizer could capture.

Run in place of `python -m kinlink.cli serve …`, which follows the argument: the file
to write, one JSON line a message.
"""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kinlink.cli.__main__ import main
from servicekit import server
from servicekit.interceptors import Layers

if __name__ == "__main__":
    capture = Path(sys.argv[1]).open("a", encoding="ascii", buffering=1)  # noqa: SIM115 - open as long as the service

    class RecordingLayers(Layers):
        """Keeps the bytes of each request message before anything reads them."""

        def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
            handler = super().intercept_service(continuation, handler_call_details)
            if handler is None:
                return None
            read = handler.request_deserializer

            def keep(message: bytes) -> Any:
                line = {"rpc": handler_call_details.method.lstrip("/"), "message": b64encode(message).decode()}
                capture.write(json.dumps(line) + "\n")
                return read(message)

            return handler._replace(request_deserializer=keep)

    server.Layers = RecordingLayers
    sys.argv[1:] = sys.argv[sys.argv.index("serve") :]
    main()
