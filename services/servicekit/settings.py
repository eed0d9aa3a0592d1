"""What a server is told: a TOML file, overridden by `KINLINK_…` environment variables.

1. Relative paths are relative to the file.
2. A setting that is unknown or ill-formed stops the start; the error names the
   field and what is expected, never the value.
3. Secrets (the database URL may hold a password) print as stars.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

_WORDS = {"extra_forbidden": "there is no such setting", "missing": "is required"}


class SettingsFileError(Exception):
    """The settings cannot be used; one line per field."""


class Witness(BaseModel):
    """Another kinlink service that signs this log's checkpoints."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str = Field(pattern=r"^[^\s:]+:\d{1,5}$")
    """host:port."""
    key: str = Field(min_length=1)
    """Its verifier key, which `kinlink audit checkpoint --key` names there."""
    server_name: str = ""
    """The name that its certificate holds, where it is not the host dialled."""


class ServerSettings(BaseSettings):
    """The settings that both services share; each subclasses it with its own."""

    model_config = SettingsConfigDict(env_prefix="KINLINK_", extra="forbid", frozen=True, hide_input_in_errors=True)

    listen: str = "127.0.0.1:0"
    """host:port; port 0 takes a free one, which the line `ready <address>` names."""
    certificate: Path
    """PEM; read again when the file changes, as the next two are."""
    key: Path
    """PEM, without a passphrase."""
    ca: Path
    """PEM; who may sign callers' certificates."""
    trust_domain: str = Field(min_length=1)
    """The first part of callers' URI names: spiffe://<trust domain>/<role>/<name>."""
    deny_list: Path | None = None
    """Serial numbers and URIs that are refused, one a line; read again when it changes."""
    database_url: SecretStr
    """sqlite:///<path, relative to the file> or postgresql://…"""
    log_key: Path = Path("log.key")
    """The Ed25519 key that signs the audit log's checkpoints; made at the first start. PEM, its owner's only."""
    checkpoint_every_entries: int = Field(default=10_000, ge=1)
    """A checkpoint is signed and sent to anchors and witnesses after as many entries."""
    checkpoint_every_s: float = Field(default=300.0, gt=0)
    """And after as many seconds with any new entry. Keys are compared with their anchors as often, at least once a
    minute."""
    anchors: list[str] = []
    """Second places of checkpoints: `file:<folder>` or `s3://<bucket>/<prefix>`. Real identifiers need one."""
    witnesses: list[Witness] = []
    """Other kinlink services that sign this log's checkpoints."""
    witnessed_logs: list[str] = []
    """Verifier keys of other services' logs, whose checkpoints this service signs."""
    otlp_endpoint: str = ""
    """Where telemetry goes, for example "http://collector:4317". Empty: nowhere."""
    health_listen: str = ""
    """host:port of a health service without TLS, for probes that cannot present a certificate. Empty: none."""
    max_message_bytes: int = Field(default=8 * 1024 * 1024, ge=64 * 1024, le=64 * 1024 * 1024)
    """The largest message that is taken."""
    threads: int = Field(default=32, ge=1, le=1024)
    """Calls served at once; as many again wait, and more are turned away."""
    drain_s: float = Field(default=20.0, ge=0)
    """How long calls under way may go on after SIGTERM."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read settings from a TOML file and the environment.

        Raises:
            SettingsFileError: the file cannot be read, or a field is missing, unknown or ill-formed.
        """
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsFileError(f"{path}: cannot be read; give --config the path of a TOML file") from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingsFileError(f"{path}: is not TOML") from error
        try:
            return cls.model_validate_settings(data, path.parent.resolve())
        except ValidationError as error:
            lines = [
                f"{'.'.join(map(str, e['loc'])) or 'settings'}: {_WORDS.get(e['type'], e['msg'])}"
                for e in error.errors()
            ]
        except SettingsError as error:
            lines = [str(error)]
        raise SettingsFileError(f"{path}:\n" + "\n".join(f"  {line}" for line in lines))

    @classmethod
    def model_validate_settings(cls, data: dict[str, Any], folder: Path) -> Self:
        """Build from values and the environment; relative paths stand for files in `folder`."""
        return cls(**data)._anchored(folder)  # noqa: SLF001 - its own class

    def _anchored(self, folder: Path) -> Self:
        changes: dict[str, Any] = {
            name: folder / value
            for name in type(self).model_fields
            if isinstance(value := getattr(self, name), Path) and not value.is_absolute()
        }
        url = self.database_url.get_secret_value()
        relative = url.removeprefix("sqlite:///")
        if relative not in (url, ":memory:") and not Path(relative).is_absolute():
            changes["database_url"] = SecretStr(f"sqlite:///{folder / relative}")
        return self.model_copy(update=changes)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - called by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file."""
        return env_settings, init_settings

    @field_validator("listen", "health_listen")
    @classmethod
    def _is_address(cls, value: str, info: ValidationInfo) -> str:
        host, _, port = value.rpartition(":")
        if value and not (host and port.isdigit() and int(port) < 65536):
            raise ValueError(f"{info.field_name} must be host:port, for example 0.0.0.0:8443")
        return value
