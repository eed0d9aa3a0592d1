"""A policy with one source and a budget that no bench reaches."""

from __future__ import annotations

from typing import Any

_SOURCE = "source/prisme"
POLICY: dict[str, Any] = {
    "suites": ["synthetic"],
    "domain": [{"name": _SOURCE, "kinds": ["cpr"]}],
    "grant": [{"name": "bench", "caller": _SOURCE, "operation": "evaluate", "domain": _SOURCE, "kinds": ["cpr"]}],
    "budget": [{"caller": _SOURCE, "per_day": 10**9, "per_year": 10**10}],
}
