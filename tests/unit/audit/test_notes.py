"""Notes, checkpoints and keys: what is refused, and why."""

from __future__ import annotations

import pytest

from kinlink.audit.note import (
    LOG,
    WITNESS,
    Checkpoint,
    NoteError,
    UnsignedError,
    VerifierKey,
    cosign,
    open_checkpoint,
    parse,
    sign,
    verify,
)
from tests.unit.audit.logs import KEY, LOG_KEY, ORIGIN, OTHER_KEY

CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(32))
NOTE = sign(CHECKPOINT.text(), ORIGIN, KEY)
WITNESS_NAME = "aros.test/linker"
WITNESS_KEY = VerifierKey.of(WITNESS_NAME, OTHER_KEY, WITNESS)


def test_checkpoint_opens() -> None:
    assert open_checkpoint(NOTE, LOG_KEY) == CHECKPOINT
    assert NOTE.startswith(f"{ORIGIN}\n7\n{'A' * 43}=\n\n— {ORIGIN} ")


@pytest.mark.parametrize(
    "text",
    [
        "a\n1\nAAAA\n",
        f"a\n01\n{'A' * 43}=\n",
        f"a\n-1\n{'A' * 43}=\n",
        f"a\n１\n{'A' * 43}=\n",
        f"a\n\n{'A' * 43}=\n",
        f"\n1\n{'A' * 43}=\n",
        f"a\n1\n{'A' * 43}=\nextension\n",
        f"a\n1\n{'A' * 43}=",
        f"a\n1\n{'A' * 43}\n",
        f"a\n1\n{'A' * 42}B=\n",
        f"a\n99999999999999999999\n{'A' * 43}=\n",
        f"a\n{2**63}\n{'A' * 43}=\n",
    ],
)
def test_checkpoint_text_has_one_form(text: str) -> None:
    with pytest.raises(NoteError):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        CHECKPOINT.text(),
        NOTE[:-1],
        NOTE.replace("— ", "- "),
        NOTE.replace("— ", "—  "),
        NOTE.replace("\n\n", "\n"),
        NOTE.replace("\n", "\r\n"),
        NOTE + "\n",
        NOTE + "x",
        NOTE + "— a AAAA\n",
        NOTE + "— a b AAAAAAAA\n",
        NOTE + "— a+b AAAAAAAA\n",
        NOTE.replace("7", "7\x00"),
        NOTE + "— a AAAAAAAA\n" * 101,
        "x" * 70_000 + NOTE,
    ],
)
def test_malformed_note_is_refused(note: str) -> None:
    with pytest.raises(NoteError):
        verify(note, LOG_KEY)


@pytest.mark.parametrize("at", range(len(NOTE)))
def test_any_changed_character_is_refused(at: int) -> None:
    changed = NOTE[:at] + chr(ord(NOTE[at]) ^ 1) + NOTE[at + 1 :]
    with pytest.raises(NoteError):
        open_checkpoint(changed, LOG_KEY)


def test_other_keys_are_told_from_a_wrong_signature() -> None:
    with pytest.raises(UnsignedError, match="not signed by"):
        verify(NOTE, VerifierKey.of(ORIGIN, OTHER_KEY))
    with pytest.raises(UnsignedError):
        verify(NOTE, VerifierKey.of("kinlink.test/pseudonymizer", KEY))
    with pytest.raises(NoteError, match="was changed"):
        verify(NOTE.replace("\n7\n", "\n8\n"), LOG_KEY)


def test_checkpoint_of_another_log_under_ones_own_key_is_refused() -> None:
    note = sign(Checkpoint("kinlink.test/other", 1, bytes(32)).text(), ORIGIN, KEY)
    with pytest.raises(NoteError, match="another log"):
        open_checkpoint(note, LOG_KEY)


def test_witness_signs_text_and_time() -> None:
    note = str(parse(NOTE).with_signature(cosign(CHECKPOINT.text(), WITNESS_NAME, OTHER_KEY, 1_790_000_000)))
    assert (verify(note, LOG_KEY), verify(note, WITNESS_KEY)) == (0, 1_790_000_000)
    assert open_checkpoint(note, WITNESS_KEY) == CHECKPOINT
    assert str(parse(note).with_signature(note.splitlines(keepends=True)[-1])) == note  # once is enough
    at = note.rindex("— ") + len(f"— {WITNESS_NAME} ") + 12
    changed = note[:at] + ("B" if note[at] == "A" else "A") + note[at + 1 :]
    with pytest.raises(NoteError, match="was changed"):
        verify(changed, WITNESS_KEY)


def test_a_log_key_is_no_witness_key() -> None:
    """One key pair in both parts: neither signature passes for the other."""
    as_witness = VerifierKey.of(ORIGIN, KEY, WITNESS)
    assert as_witness.id != LOG_KEY.id
    with pytest.raises(UnsignedError):
        verify(NOTE, as_witness)
    cosigned = str(parse(NOTE).with_signature(cosign(CHECKPOINT.text(), ORIGIN, KEY, 5)))
    lines = cosigned.splitlines(keepends=True)
    with pytest.raises(UnsignedError):
        verify("".join([*lines[:4], lines[5]]), LOG_KEY)


def test_second_signature_of_the_same_key_must_hold_as_well() -> None:
    bad = sign("kinlink.test/linker\n8\n" + "A" * 43 + "=\n", ORIGIN, KEY).splitlines(keepends=True)[-1]
    with pytest.raises(NoteError, match="was changed"):
        verify(NOTE + bad, LOG_KEY)


@pytest.mark.parametrize("text", ["", "x", "a\x00\n", "a\tb\n"])
def test_only_text_is_signed(text: str) -> None:
    with pytest.raises(NoteError):
        sign(text, ORIGIN, KEY)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\n"])
def test_name_that_no_note_can_bear_is_refused(name: str) -> None:
    with pytest.raises(NoteError):
        VerifierKey(name, bytes(32))


@pytest.mark.parametrize(("public", "kind"), [(bytes(31), LOG), (bytes(32), 2)])
def test_key_of_another_length_or_type_is_refused(public: bytes, kind: int) -> None:
    with pytest.raises(NoteError):
        VerifierKey(ORIGIN, public, kind)


@pytest.mark.parametrize("length", [0, 63, 65])
def test_signature_of_another_length_is_refused(length: int) -> None:
    signature = parse(NOTE).signatures[0]
    whole = signature.key_id + (signature.content * 2)[:length]
    note = str(type(parse(NOTE))(parse(NOTE).text, (type(signature)(ORIGIN, whole[:4], whole[4:]),)))
    with pytest.raises(NoteError):
        verify(note, LOG_KEY)
