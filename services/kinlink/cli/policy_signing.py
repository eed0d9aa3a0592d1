"""`kinlink approvals sign-policy`: one person's signature beside a disclosure policy.

1. Nobody signs what was not shown: the file is printed, and one with characters that hide others is refused.
2. No service is asked: a signature is made where the key is, and counts when the linker's settings name the signer.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from kinlink import policy_signatures
from kinlink.approval_keys import public_bytes, read_key
from kinlink.change_document import is_signer_name
from kinlink.errors import InputError, RefusedError


def sign_policy(
    policy: Annotated[Path, typer.Argument(help="The disclosure policy, disclosure.toml.")],
    name: Annotated[str, typer.Option(help="Who you are: custodian/<name> or reviewer/<name>.")],
    key: Annotated[Path, typer.Option(help="Your approval key, as `kinlink approvals enrol` made it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking: for scripts.")] = False,
) -> None:
    """Read a disclosure policy, and sign it; the signature is added to the file beside it."""
    if not is_signer_name(name):
        raise InputError("--name must be custodian/<name> or reviewer/<name>, as you enrolled.", "BAD_NAME")
    content = _read(policy)
    beside = policy.with_name(policy.name + policy_signatures.SUFFIX)
    signatures = _signatures(beside)
    typer.echo(_shown(policy, content))
    typer.echo(f"SHA-256 of the file: {sha256(content).hexdigest()}")
    if not yes and not _confirmed(f"Sign as {name}?"):
        raise RefusedError("Not signed; nothing was written.", "NOT_SIGNED")
    own = read_key(key, lambda: str(typer.prompt("Passphrase", hide_input=True, err=True)))
    signatures[name] = policy_signatures.sign(own, name, content)
    new = beside.with_name(f".{beside.name}.new")
    try:
        new.write_text(policy_signatures.file_of(signatures), encoding="utf-8")
        new.replace(beside)
    except OSError as error:
        raise InputError(f"{beside} cannot be written: {error.strerror}.", "OUT_FILE") from None
    typer.echo(f"signed by {name}; {len(signatures)} in {beside}")
    typer.echo(
        "next: put both files where the linker's setting disclosure is, name the signers in its settings:", err=True
    )
    typer.echo(f'[[disclosure_signers]]\nname = "{name}"\npublic_key = "{b64encode(public_bytes(own)).decode()}"')


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise InputError(f"{path} cannot be read. Give the disclosure policy's file.", "POLICY_FILE") from None


def _signatures(path: Path) -> dict[str, bytes]:
    """Return who signed already; nobody when there is no file."""
    try:
        return policy_signatures.parse(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "POLICY_FILE") from None
    except policy_signatures.PolicySignatureError as error:
        raise InputError(f"{path} {error}. Move it away, and have everybody sign again.", "POLICY_FILE") from None


def _shown(path: Path, content: bytes) -> str:
    """Return the file as text. Raises InputError where a terminal would not show all of it."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\x00"
    if any(not character.isprintable() and character not in "\n\t" for character in text):
        message = f"{path} holds characters that a terminal does not show, so nobody could see what they sign."
        raise InputError(message, "POLICY_FILE")
    return text


def _confirmed(question: str) -> bool:
    try:
        return bool(typer.confirm(question))
    except typer.Abort:  # nobody is there to answer; a script says --yes
        typer.echo()
        return False
