"""A service that says a CPR number, a name, or a key, on purpose: what the canary test must catch, or see redacted.

Run in place of `python -m kinlink.cli serve …`, which follows the arguments: the
way to leak, and the number or name.
"""

from __future__ import annotations

import sys
from typing import Any

import structlog
from opentelemetry import trace

from kinlink.cli.__main__ import main
from pseudonymizer.encoding_keys import EncodingKeys, HandedOut
from servicekit import server
from servicekit.audit import AuditEntry, AuditLog, entry


def leak(way: str, number: str, audit: AuditLog) -> None:
    if way == "print":
        sys.stderr.write(f'{{"event": "no person {number[:6]}-{number[6:]}"}}\n')
    elif way == "structlog":
        log = structlog.get_logger("leaky")
        log.warning("no person %s", number, cpr=number, numbers=[int(number) if number.isdigit() else 0])
        with trace.get_tracer("leaky").start_as_current_span(f"person {number}") as span:
            span.set_attribute("kinlink.table", number)
    elif way in ("audit", "audit without redaction"):
        if way != "audit":
            entry.redact_text = str
        audit.append(AuditEntry("leak", "", "ok", subject=number))
    elif way == "encoding key":
        hand_out = EncodingKeys.hand_out

        def leaking(self: EncodingKeys, *told: Any) -> HandedOut:
            found = hand_out(self, *told)
            structlog.get_logger("leaky").warning("handed out", what=found.secret.hex())
            trace.get_current_span().set_attribute("kinlink.table", found.secret.hex())
            audit.append(AuditEntry("leak", "", "ok", evidence=found.secret.hex()))
            return found

        EncodingKeys.hand_out = leaking  # type: ignore[method-assign]


if __name__ == "__main__":
    way, number = sys.argv[1:3]
    run = server.run

    def leaking_run(*told: Any, **more: Any) -> None:
        leak(way, number, next(each for each in told if isinstance(each, AuditLog)))
        run(*told, **more)

    server.run = leaking_run
    sys.argv[1:] = sys.argv[sys.argv.index("serve") :]
    main()
