"""`kinlink keys encoded-anew`: a source states that it is done with the replaced versions of an encoding key."""

from __future__ import annotations

from typing import Annotated

import typer

from kinlink.cli.deliver import Config
from kinlink.client_config import ClientConfig
from kinlink.errors import ConflictError
from kinlink.key_administration_client import KeyAdministrationClient
from kinlink.pseudonyms import Kind
from kinlink.rekeying_client import RekeyingClient
from kinlink.types.v1.types_pb2 import KeyRef

_EPILOG = "Example: kinlink keys encoded-anew linkage/familie"
_OPEN = ("retiring", "disabled", "compromised")


def register(keys_app: typer.Typer) -> None:
    """Add the command to the group."""
    keys_app.command("encoded-anew", epilog=_EPILOG)(encoded_anew)


def encoded_anew(
    domain: Annotated[str, typer.Argument(help="linkage/<purpose>.", show_default=False)], config: Config = None
) -> None:
    """State that this source has encoded and delivered anew all that it had encoded under replaced keys.

    Nothing carries encodings over: encode the extracts again, which is done under the active version, and deliver
    them. When every source that may encode has stated it, the old version can be destroyed.
    """
    with ClientConfig.load(config).pseudonymizer_channel() as channel:
        keys = [key for key in KeyAdministrationClient(channel).keys(domain) if key.name.kind is Kind.ENCODING]
        if not keys:
            message = f"There is no encoding key of {domain} that you may know of. Ask its custodians for a grant."
            raise ConflictError(message, "KEY_MISSING")
        newest = max((key.name.version for key in keys if key.activated_at), default=0)
        replaced = [key.name for key in keys if key.activated_at and key.state in _OPEN and key.name.version < newest]
        for name in replaced:
            RekeyingClient(channel).attest(
                KeyRef(domain=domain, kind=Kind.ENCODING.wire, version=name.version), None, held=0, converted=0
            )
            typer.echo(f"attested for {domain} encoding version {name.version}: all encoded anew")
    if replaced:
        typer.echo(f"next: tell the custodians; `kinlink keys status {domain}` shows them who is not done")
    else:
        typer.echo(f"{domain} has no replaced encoding key: there is nothing to attest")
