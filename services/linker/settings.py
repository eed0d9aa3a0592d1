"""What the linker is told beyond what every server is."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from kinlink.ed25519 import is_usable
from kinlink.types.v1 import types_pb2
from servicekit.settings import ServerSettings

_HERE = Path(__file__).parent
_SUITES = {"kinlink-v1": types_pb2.SUITE_KINLINK_V1, "synthetic": types_pb2.SUITE_KINLINK_SYNTHETIC_V1}


class PolicySigner(BaseModel):
    """Somebody who signs the disclosure policy."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^(custodian|reviewer)/[a-z0-9][a-z0-9._-]{0,62}$")
    """As `kinlink approvals enrol` was told."""
    public_key: str
    """As it printed: Ed25519, 32 bytes in base64."""

    @property
    def key(self) -> bytes:
        """The public key's bytes."""
        return b64decode(self.public_key)

    @field_validator("public_key")
    @classmethod
    def _is_key(cls, value: str) -> str:
        try:
            usable = is_usable(b64decode(value, validate=True))
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(
                "public_key is an Ed25519 key, 32 bytes in base64, as `kinlink approvals enrol` printed it"
            )
        return value


class LinkerSettings(ServerSettings):
    """The settings file of the linker."""

    store: Path = Path("store")
    """The folder of the Delta tables. One linker at a time may use it."""
    store_url: str = ""
    """Where the Delta tables are instead of in `store`, for example "s3://bucket/linker"."""
    store_options: dict[str, str] = Field(default_factory=dict, repr=False)
    """How to reach `store_url`: the storage options of delta-rs."""
    staging: Path = Path("staging")
    """The folder of unfinished deliveries, on local disk."""
    purpose: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    """The linkage domain after "linkage/", for example "familie". One linker a purpose."""
    municipality: int = Field(ge=100, le=999)
    """The municipality whose residents form families."""
    suites: list[Literal["kinlink-v1", "synthetic"]] = Field(default=["kinlink-v1"], min_length=1, max_length=1)
    """The hash tag that deliveries must use. One: real and synthetic identifiers never stand in one store."""
    pseudonymizer: str = Field(min_length=1)
    """host:port."""
    pseudonymizer_name: str = ""
    """The name that its certificate holds, where it is not the host dialled."""
    client_certificate: Path
    """Who this linker is to the pseudonymizer: the certificate of spiffe://…/linker/<name>."""
    client_key: Path
    """Its key."""
    abandoned_after_days: float = Field(default=7, gt=0)
    """How long an unfinished delivery waits to be resumed."""
    max_delivery_rows: int = Field(default=200_000_000, ge=1)
    """Rows of one delivery; more are refused."""
    max_delivery_chunks: int = Field(default=10_000, ge=1)
    """Chunks of one delivery; more are refused."""
    staging_reserve_bytes: int = Field(default=1024**3, ge=0)
    """Room on the staging disk that deliveries may not take, in bytes."""
    max_open_deliveries: int = Field(default=16, ge=1)
    """Unfinished deliveries that a source may have."""
    access: Path = _HERE / "access.toml"
    """Who may call what; the controller may set a file of his own, as with the next two."""
    registry: Path = _HERE / "registry.toml"
    """The closed list of tables."""
    disclosure: Path = _HERE / "disclosure.toml"
    """The disclosure policy, the controller's. Its signatures are beside it: the file's name and `.signatures`."""
    disclosure_signers: list[PolicySigner] = Field(default=[])
    """Who must all have signed the disclosure policy, with `kinlink approvals sign-policy`: tables of name and
    public_key. Real identifiers need one."""
    linkage: Path = _HERE / "linkage.toml"
    """The linkage policy, the controller's: how records without a usable CPR number are linked, and how long their
    encodings are kept."""

    @property
    def policy_signers(self) -> dict[str, bytes]:
        """The public keys of those who sign the disclosure policy, by name."""
        return {signer.name: signer.key for signer in self.disclosure_signers}

    @property
    def real(self) -> bool:
        """Whether the identifiers are real people's."""
        return "kinlink-v1" in self.suites

    @field_validator("disclosure_signers")
    @classmethod
    def _are_different(cls, value: list[PolicySigner]) -> list[PolicySigner]:
        if len({signer.name for signer in value}) < len(value) or len({signer.key for signer in value}) < len(value):
            raise ValueError("each signer stands once, and no two have one key")
        return value

    @property
    def suite_numbers(self) -> frozenset[int]:
        """The hash tags as wire numbers."""
        return frozenset(int(_SUITES[suite]) for suite in self.suites)
