"""What a verification says of witnesses: how far they vouch, and whose signature is missing or not on the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kinlink.audit.findings import FindingKind as K
from kinlink.audit.findings import Verification
from kinlink.audit.kept import read
from kinlink.audit.note import VerifierKey
from kinlink.audit.verify import verify
from kinlink.audit.witnesses import witness_key
from tests.served_log import ask, said
from tests.unit.audit.logs import LOG_KEY, OTHER_KEY, WITNESS_NAME, Log, honest

WITNESS = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))
KEY = VerifierKey.of(WITNESS_NAME, WITNESS)
Edit = Callable[[str], str]


def log(cosigned_at: dict[int, Sequence[Ed25519PrivateKey]]) -> Log:
    """Return a log that was signed after 5, 10 and 15 entries, and by witnesses where it says so."""
    return Log(honest(20).contents, signed_at=(5, 10, 15), cosigned_at=cosigned_at)


def verified(
    folder: Path, made: Log, size: int = 10, edit: Edit = str, keys: Sequence[VerifierKey] = (KEY,)
) -> Verification:
    """Keep the checkpoint of `size` entries, and verify an export of all."""
    path = made.keep(folder / "1.checkpoint", size)
    path.write_text(edit(path.read_text()))
    export = made.export(folder / "log.audit")
    export.path.write_text(edit(export.path.read_text()))
    return verify(export, read([path]), LOG_KEY, witnesses=keys)


def test_newest_signature_vouches_for_all_before_it(tmp_path: Path) -> None:
    for at in (10, 15):
        result = verified(tmp_path, log({at: [WITNESS]}))
        assert (result.findings, [(w.witness, w.size) for w in result.witnesses]) == ((), [(WITNESS_NAME, at)])
    result = verified(tmp_path, log({15: [WITNESS]}), keys=[witness_key(KEY)])
    assert result.ok, "its own key of the type that cosigns"
    assert verified(tmp_path, log({}), keys=()).ok, "nobody was asked for"


def test_signature_on_the_kept_checkpoint_alone_counts(tmp_path: Path) -> None:
    made = log({10: [WITNESS]})
    path = made.keep(tmp_path / "1.checkpoint", 10)
    made.cosigned_at.clear()
    assert verify(made.export(tmp_path / "log"), read([path]), LOG_KEY, witnesses=[KEY]).ok


def test_witness_that_does_not_reach_what_was_kept_is_named(tmp_path: Path) -> None:
    [found] = verified(tmp_path, log({5: [WITNESS]})).findings
    assert (found.kind, found.first, found.end) == (K.WITNESS_MISSING, 5, 10)
    assert "vouches for the first 5 entries, and not for the 10" in found.text


def test_witness_that_signed_nothing_is_named(tmp_path: Path) -> None:
    [found] = verified(tmp_path, log({})).findings
    assert (found.kind, found.text) == (
        K.WITNESS_MISSING,
        f"No checkpoint bears a signature of the witness {KEY.name}.",
    )


def test_another_key_under_the_name_of_a_witness_is_named(tmp_path: Path) -> None:
    [found] = verified(tmp_path, log({10: [OTHER_KEY], 15: [OTHER_KEY]})).findings
    assert found.kind == K.WITNESS_MISSING
    assert witness_key(VerifierKey.of(WITNESS_NAME, OTHER_KEY)).id.hex() in found.text


def test_signature_that_is_not_on_the_text_is_named(tmp_path: Path) -> None:
    """The line of one checkpoint under another."""
    made = log({10: [WITNESS], 15: [WITNESS]})
    ten, fifteen = (made.note(size).splitlines()[-1] for size in (10, 15))
    [found] = verified(tmp_path, made, edit=lambda text: text.replace(ten, fifteen)).findings
    assert found.kind == K.WITNESS_INVALID
    assert "the service's own checkpoint of 10 entries and 1 more" in found.text


def test_signature_under_another_history_vouches_for_nothing(tmp_path: Path) -> None:
    """The log's key and the witness signed 15 entries of which one was another."""
    other = Log([*honest(14).contents, honest(16).contents[15]], cosigned_at={15: [WITNESS]})
    shown = log({}).note(15)
    told = (shown.replace("\n", "\\n"), other.note(15).replace("\n", "\\n"))
    result = verified(tmp_path, log({}), edit=lambda text: text.replace(*told))
    assert {found.kind for found in result.findings} == {K.CHECKPOINT_FAILS, K.WITNESS_MISSING}


def test_command_takes_witnesses_keys(tmp_path: Path) -> None:
    made = log({10: [WITNESS]})
    told = (made.export(tmp_path / "log").path, "--checkpoint", made.keep(tmp_path / "1.checkpoint", 10))
    told = (*told, "--log-key", str(LOG_KEY))
    assert f"The witness {WITNESS_NAME} vouches for the first 10." in said("verify", *told, "--witness", str(KEY))
    code, text = ask("verify", *told, "--witness", str(KEY), "--witness", str(LOG_KEY))
    assert code == 6
    assert f"FOUND witness missing: No checkpoint bears a signature of the witness {LOG_KEY.name}" in text
    code, text = ask("verify", *told, "--witness", "none.txt")
    assert (code, "--witness: none.txt cannot be read" in text) == (3, True)
