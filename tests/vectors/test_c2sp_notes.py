"""C2SP signed-note, tlog-checkpoint and tlog-cosignature, bit-exact.

Origin: key and note of the reference implementation's tests (golang.org/x/mod/sumdb/note,
note_test.go); examples of the specifications' texts (c2sp.org); and a checkpoint of a public
log, Arche 2025h1 (staging), with the signatures of the log and of a witness, remora.n621.de, whose
keys both publish.
"""

from __future__ import annotations

from base64 import b64decode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kinlink.audit.note import (
    WITNESS,
    Checkpoint,
    NoteError,
    UnsignedError,
    VerifierKey,
    open_checkpoint,
    parse,
    sign,
    verify,
)

GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_PRIVATE = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = f"""{GO_TEXT}
— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""
ARCHE = "arche2025h1.staging.ct.transparency.dev"
ARCHE_KEY = f"{ARCHE}+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
REMORA_KEY = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
ARCHE_NOTE = f"""{ARCHE}
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— {ARCHE} zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— {ARCHE} ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
"""  # noqa: E501 - as published
SPEC_NOTE = """Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
"""  # noqa: E501 - as published
SPEC_COSIGNED = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""  # noqa: E501 - as published


@pytest.mark.parametrize("text", [GO_KEY, ARCHE_KEY, REMORA_KEY])
def test_key_reads_and_writes(text: str) -> None:
    assert str(VerifierKey.parse(text)) == text


def test_note_of_the_reference_implementation() -> None:
    key = VerifierKey.parse(GO_KEY)
    assert verify(GO_NOTE, key) == 0
    private = Ed25519PrivateKey.from_private_bytes(b64decode(GO_PRIVATE)[1:])
    assert sign(GO_TEXT, "PeterNeumann", private) == GO_NOTE
    assert VerifierKey.of("PeterNeumann", private) == key


def test_keys_cut_short_or_changed_are_refused() -> None:
    """As the reference implementation's test: every part of the key, and every character one further."""
    n = len(GO_KEY)
    broken = {GO_KEY[i:j] for i in range(n + 1) for j in range(i + 1, n + 1)} - {GO_KEY}
    broken |= {f"{GO_KEY[:i]}{chr(ord(GO_KEY[i]) + 1)}{GO_KEY[i + 1 :]}" for i in range(n)}
    broken |= {
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    }
    for text in broken:
        with pytest.raises(NoteError):
            VerifierKey.parse(text)


def test_checkpoint_of_a_public_log_and_its_witness() -> None:
    checkpoint = open_checkpoint(ARCHE_NOTE, VerifierKey.parse(ARCHE_KEY))
    assert (checkpoint.origin, checkpoint.size) == (ARCHE, 1432088532)
    assert checkpoint.text() == parse(ARCHE_NOTE).text
    witness = VerifierKey.parse(REMORA_KEY)
    assert witness.type == WITNESS
    assert verify(ARCHE_NOTE, witness) == 1779573024  # the eight bytes after the key's id
    for key in (ARCHE_KEY, REMORA_KEY):
        with pytest.raises(NoteError, match="was changed"):
            verify(ARCHE_NOTE.replace("1432088532", "1432088533"), VerifierKey.parse(key))
    with pytest.raises(UnsignedError):
        verify(ARCHE_NOTE, VerifierKey.parse(GO_KEY))


@pytest.mark.parametrize("note", [GO_NOTE, ARCHE_NOTE, SPEC_NOTE, SPEC_COSIGNED])
def test_note_reads_and_writes(note: str) -> None:
    assert str(parse(note)) == note


def test_examples_of_the_specification() -> None:
    assert parse(SPEC_NOTE).text == SPEC_NOTE.rpartition("\n\n")[0] + "\n"
    found = parse(SPEC_COSIGNED)
    assert Checkpoint.parse(found.text).size == 20852163
    assert int.from_bytes(found.signatures[1].content[:8]) == 1679315147
