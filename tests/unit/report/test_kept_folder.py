from __future__ import annotations

from pathlib import Path

import pytest

from kinlink.errors import InputError
from kinlink.report.logs import KeptFolder

KEY = "kinlink.test/linker+not a key"


def test_folder_without_anything_kept_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError) as caught:
        KeptFolder.read(tmp_path)
    assert caught.value.reason == "NOTHING_KEPT"


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        KeptFolder.read(tmp_path / "absent")
    assert caught.value.reason == "NOT_READABLE"


def test_key_file_that_holds_no_key_is_refused_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "linker.key.txt").write_text(KEY)
    with pytest.raises(InputError) as caught:
        KeptFolder.read(tmp_path)
    assert caught.value.reason == "KEY_MALFORMED"
    assert "not a key" not in str(caught.value)


def test_checkpoints_are_told_apart_by_their_log(tmp_path: Path) -> None:
    for service in ("linker", "pseudonymizer"):
        note = f"kinlink.test/{service}\n1\nAAAA\n\n— kinlink.test/{service} AAAA\n"
        (tmp_path / f"{service}.checkpoint").write_text(note, encoding="utf-8")
    kept = KeptFolder.read(tmp_path)
    (own,) = kept.of("kinlink.test/linker")
    assert Path(own.name).name == "linker.checkpoint"
    assert kept.of("kinlink.test/other") == []
