"""The pseudonymizer's policy of the demo: what each source and the linker may do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

Table = dict[str, object]


def policy(
    sources: Sequence[str],
    register: str,
    purpose: str,
    *,
    plain_door: Collection[str] = (),
    encoders: Collection[str] = (),
    budget_per_day: Mapping[str, int] | None = None,
) -> Table:
    """Return policy.toml: each source in its own domain, the linker from all of them to its own.

    `plain_door`: sources whose plain door is open. `encoders`: those that encode records without CPR.
    `budget_per_day`: by caller, where it is not ample.
    """
    linker, linkage = f"linker/{purpose}", f"linkage/{purpose}"
    kinds = {name: ["cpr", "replacement"] for name in sources} | {register: ["cpr", "address"]}
    linked = ["cpr", "address", "replacement"]
    domains: list[Table] = [
        {"name": f"source/{name}", "kinds": kinds[name], **({"plain_door": True} if name in plain_door else {})}
        for name in sources
    ]
    grants = [
        _in_own_domain(name, says, operation, of_kinds)
        for says, operation, names, only in (
            ("evaluates", "evaluate", sources, None),
            ("uses the plain door", "pseudonymise", plain_door, ["cpr"]),
            ("rekeys", "rekey", sources, None),
        )
        for name in names
        for of_kinds in (only or kinds[name],)
    ]
    grants += [
        {
            "name": f"{purpose} links {kind}",
            "caller": linker,
            "operation": "convert",
            "from": [f"source/{name}" for name in sources if kind in kinds[name]],
            "to": linkage,
            "kinds": [kind],
        }
        for kind in linked
    ]
    grants.append(
        {"name": f"{purpose} rekeys", "caller": linker, "operation": "rekey", "domain": linkage, "kinds": linked}
    )
    grants += [
        {"name": f"{name} encodes", "caller": f"source/{name}", "operation": "encode", "domain": linkage}
        | {"kinds": ["encoding"]}
        for name in encoders
    ]
    keyed = [*linked, *(["encoding"] if encoders else [])]
    ample = dict.fromkeys((*(f"source/{name}" for name in sources), linker), 20000000)
    return {
        "suites": ["synthetic"],
        "domain": [*domains, {"name": linkage, "kinds": keyed}],
        "grant": grants,
        "rotation": {"rotate_after_days": 730, "backups_kept_days": 35},
        "budget": [
            {"caller": caller, "per_day": per_day, "per_year": 1_000_000_000}
            for caller, per_day in (ample | dict(budget_per_day or {})).items()
        ],
    }


def _in_own_domain(source: str, says: str, operation: str, kinds: Sequence[str]) -> Table:
    domain = f"source/{source}"
    return {
        "name": f"{source} {says}",
        "caller": domain,
        "operation": operation,
        "domain": domain,
        "kinds": list(kinds),
    }
