"""What was verified, in words and as JSON."""

from __future__ import annotations

from collections.abc import Iterator

from kinlink.audit.findings import Verification


def lines(result: Verification) -> Iterator[str]:
    """Yield what `kinlink audit verify` says."""
    yield from (f"holds: {name}" for name in result.held)
    yield from (f"FOUND {found.kind}: {found.text}" for found in result.findings)
    if not result.ok:
        count = len(result.findings)
        yield f"{result.origin}: {count} finding{'s' if count > 1 else ''}. Keep these files as they are."
        return
    yield f"{result.origin}: nothing was found. The first {result.proven_size} entries are those that you kept."
    later = result.end - result.proven_size
    if later:
        covered = "" if result.signed_size < result.end else ", but the service has signed them"
        yield f"The {later} after them are not yet under a checkpoint that you kept{covered}."
    yield from (f"The witness {each.witness} vouches for the first {each.size}." for each in result.witnesses)
    if result.keys:
        yield f"Changes of keys and signers that took effect: {result.keys.signed}, each signed by those who could."
        if not result.keys.genesis_kept:
            told = f"SHA-256 {result.keys.genesis[:16]}…" if result.keys.genesis else "which names none"
            yield f"Who signed first is taken from the log's first entry ({told}); give --genesis to compare."


def document(result: Verification) -> dict[str, object]:
    """Return it as JSON has it."""
    return {
        "ok": result.ok,
        "origin": result.origin,
        "start": result.start,
        "end": result.end,
        "proven_size": result.proven_size,
        "signed_size": result.signed_size,
        "held": list(result.held),
        "witnesses": {each.witness: each.size for each in result.witnesses},
        "changes_signed": result.keys.signed if result.keys else None,
        "genesis_sha256": result.keys.genesis if result.keys else None,
        "findings": [{"kind": f.kind, "first": f.first, "end": f.end, "text": f.text} for f in result.findings],
    }
