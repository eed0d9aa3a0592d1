"""What the pseudonymizer is told beyond what every server is."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from servicekit.settings import ServerSettings


class PseudonymizerSettings(ServerSettings):
    """The settings file of the pseudonymizer."""

    policy: Path
    """The policy file, see `policy.example.toml`."""
    genesis: Path
    """Who may sign changes of keys to begin with; the same file for ever. See `kinlink approvals enrol`."""
    kek: str
    """Where the key-encryption key is: `file:<path>`, `pkcs11:…`, `vault:https://…` or `azurekv:https://…`."""
    kek_previous: str | None = None
    """Where it was before, until `kinlink keystore rewrap` has run: unwraps, and wraps nothing."""
    max_batch_elements: int = Field(default=32_768, ge=1)
    """The most elements or identifiers in one message."""
