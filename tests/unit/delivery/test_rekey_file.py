"""A file of stored pseudonyms is carried to the next version: whole, in place, and again if need be."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given as case
from hypothesis import settings
from hypothesis import strategies as st

from kinlink import ristretto255
from kinlink.delivery import rekey_file as module
from kinlink.delivery.errors import ExtractError
from kinlink.delivery.receipts import keep, receipts_of
from kinlink.delivery.rekey_file import rekey_file
from kinlink.delivery.stored import Stored
from kinlink.errors import InputError, InternalError, UnavailableError
from kinlink.pseudonyms import from_text, to_text
from kinlink.types.v1.types_pb2 import KeyRef

DOMAIN = "source/dubu"
SCALARS = {version: ristretto255.random_scalars(1) for version in (1, 2, 3)}


def element(name: str, version: int = 1) -> bytes:
    return ristretto255.multiply(SCALARS[version], ristretto255.hash_to_group([name.encode()], b"test"))


def text(name: str | None, version: int = 1, domain: str = DOMAIN) -> str | None:
    return None if name is None else to_text(domain, version, element(name, version))


class LocalRekeyer:
    """Rekeys by keys of its own; `before` is called before each call and may raise."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.before, self.calls, self.wrong = before, 0, False

    def rekey(
        self, elements: bytes, from_key: KeyRef, to_key: KeyRef, progress: Callable[[int, int], None] = lambda *_: None
    ) -> tuple[bytes, KeyRef]:
        self.calls += 1
        self.before()
        progress(len(elements) // 32, len(elements) // 32)
        factor = ristretto255.quotient(SCALARS[to_key.version], SCALARS[3 if self.wrong else from_key.version])
        return ristretto255.multiply(factor, elements), to_key


def written(folder: Path, frame: pl.DataFrame, name: str = "folk.csv", **options: Any) -> Stored:
    path = folder / name
    if path.suffix == ".parquet":
        frame.write_parquet(path, **options)
    else:
        frame.write_csv(path, separator=";")
    return Stored(path, "cpr", DOMAIN)


def people(names: Sequence[str | None], version: int = 1) -> pl.DataFrame:
    notes = [f"0{number};x" for number in range(len(names))]
    return pl.DataFrame(
        {"note": notes, "cpr": [text(name, version) for name in names]}, schema_overrides={"cpr": pl.String}
    )


def named(stored: Stored, version: int) -> list[str | None]:
    """Return who stands in each row, under `version` only."""
    known = {element(name, version): name for name in "abcdefgh"}
    rows = stored.scan().collect()["cpr"]
    if rows.dtype == pl.Binary:
        return [known.get(value) if value else None for value in rows]
    for value in rows.drop_nulls():
        assert from_text(value)[:2] == (DOMAIN, version)
    return [known[from_text(value)[2]] if value else None for value in rows]


NAMES = st.lists(st.sampled_from([*"abcdefgh", None]), max_size=20)


@settings(max_examples=20, deadline=None)
@case(names=NAMES)
def test_rows_keep_their_order_and_all_else(names: list[str | None], tmp_path_factory: pytest.TempPathFactory) -> None:
    stored = written(tmp_path_factory.mktemp("f"), people(names))
    before = stored.scan().collect()
    outcome = rekey_file(stored, LocalRekeyer(), 2)
    assert named(stored, 2) == names
    assert stored.scan().collect()["note"].equals(before["note"])
    n = len(set(names) - {None})
    assert (dict(outcome.carried), outcome.already) == ({1: n} if n else {}, 0)
    again = rekey_file(stored, LocalRekeyer(), 2)
    assert (dict(again.carried), again.already) == ({}, n)
    assert named(stored, 2) == names


def test_rows_of_several_versions_go_to_one(tmp_path: Path) -> None:
    frame = pl.concat([people(["a", "b"]), people(["c"], 2), people(["d"], 3)])
    stored = written(tmp_path, frame)
    outcome = rekey_file(stored, LocalRekeyer(), 2)
    assert (dict(outcome.carried), outcome.already) == ({1: 2, 3: 1}, 1)
    assert named(stored, 2) == ["a", "b", "c", "d"]


def test_parquet_says_its_version_from_then_on_so_that_nothing_is_carried_twice(tmp_path: Path) -> None:
    frame = pl.DataFrame({"cpr": [element("a"), None, element("b")], "n": [1, 2, 3]})
    stored = written(tmp_path, frame, "folk.parquet", metadata={"owner": "dubu"})
    with pytest.raises(ExtractError) as refused:
        rekey_file(stored, LocalRekeyer(), 2)
    assert refused.value.reason == "VERSION_MISSING"
    told = Stored(stored.path, "cpr", DOMAIN, version=1)
    rekey_file(told, LocalRekeyer(), 2)
    assert named(stored, 2) == ["a", None, "b"]
    assert stored.scan().collect()["n"].to_list() == [1, 2, 3]
    said = pl.read_parquet_metadata(stored.path)
    assert (said["kinlink.cpr"], said["owner"]) == ("source/dubu.2", "dubu")
    with pytest.raises(ExtractError) as refused:
        rekey_file(told, LocalRekeyer(), 2)
    assert refused.value.reason == "VERSION_MISMATCH"
    assert rekey_file(stored, LocalRekeyer(), 2).carried == {}


BAD: dict[str, tuple[str | None, str]] = {
    "a number": ("6101800010", "NOT_PSEUDONYMS"),
    "another's": (text("a", domain="source/ky"), "NOT_PSEUDONYMS"),
    "cut short": ((text("a") or "")[:-1], "NOT_PSEUDONYMS"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_what_is_no_pseudonym_is_named_by_row_and_never_by_value(name: str, tmp_path: Path) -> None:
    value, reason = BAD[name]
    stored = written(tmp_path, pl.DataFrame({"cpr": [text("a"), None, value]}))
    before = stored.path.read_bytes()
    with pytest.raises(ExtractError) as refused:
        rekey_file(stored, LocalRekeyer(), 2)
    assert refused.value.reason == reason
    assert "row 4" in str(refused.value)
    assert value not in str(refused.value)
    assert stored.path.read_bytes() == before


def test_a_missing_file_or_column_is_said(tmp_path: Path) -> None:
    stored = written(tmp_path, people(["a"]))
    for wrong, reason in (
        (Stored(tmp_path / "none.csv", "cpr", DOMAIN), "EXTRACT_MISSING"),
        (Stored(stored.path, "nummer", DOMAIN), "MISSING_COLUMN"),
    ):
        with pytest.raises(ExtractError) as refused:
            rekey_file(wrong, LocalRekeyer(), 2)
        assert refused.value.reason == reason


def test_what_breaks_off_is_taken_up_again_and_no_piece_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", 2)
    stored = written(tmp_path, people([*"abcdef"]))
    answers = iter([None, UnavailableError("away"), UnavailableError("away"), None, None, None])

    def before() -> None:
        error = next(answers)
        if error:
            raise error

    client = LocalRekeyer(before)
    seen: list[int] = []
    rekey_file(stored, client, 2, lambda done, _: seen.append(done), delays_s=(0, 0))
    assert named(stored, 2) == [*"abcdef"]
    assert client.calls == 6, "three pieces, two of them failing once, and the sample"
    assert seen == sorted(seen)


def test_what_stays_away_or_lies_leaves_the_old_file_whole(tmp_path: Path) -> None:
    stored = written(tmp_path, people(["a", "b"]))
    before = stored.path.read_bytes()

    def away() -> None:
        raise UnavailableError("away")

    with pytest.raises(UnavailableError):
        rekey_file(stored, LocalRekeyer(away), 2, delays_s=(0,))
    liar = LocalRekeyer()

    def lie() -> None:
        liar.wrong = liar.calls == 1

    liar.before = lie
    with pytest.raises(InternalError):
        rekey_file(stored, liar, 2)
    assert stored.path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["folk.csv"]


def test_a_file_that_somebody_writes_meanwhile_is_left_alone(tmp_path: Path) -> None:
    stored = written(tmp_path, people(["a", "b"]))

    def append() -> None:
        with stored.path.open("a") as file:
            file.write(f"new;{text('c')}\n")

    with pytest.raises(InputError) as refused:
        rekey_file(stored, LocalRekeyer(append), 2)
    assert refused.value.reason == "CHANGED"
    assert set(named(stored, 1)) == {"a", "b", "c"}


class KilledError(BaseException):
    """The process is gone."""


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count what is done to the disk, and die before the step "at"."""
    state = {"at": -1, "step": 0}

    def mortal(does: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named_arguments: Any) -> Any:
            state["step"] += 1
            if state["step"] - 1 == state["at"]:
                raise KilledError
            return does(*arguments, **named_arguments)

        return step

    monkeypatch.setattr(Path, "replace", mortal(Path.replace))
    monkeypatch.setattr(Stored, "write", mortal(Stored.write))
    monkeypatch.setattr(os, "fsync", mortal(os.fsync))
    return state


def test_a_kill_at_any_step_leaves_a_whole_file_and_the_next_run_ends_it(
    tmp_path: Path, killer: dict[str, int]
) -> None:
    survived, at, sides = False, 0, set()
    while not survived:
        folder = tmp_path / str(at)
        folder.mkdir()
        stored = written(folder, people([*"abca", None]))
        killer |= {"at": at, "step": 0}
        try:
            rekey_file(stored, LocalRekeyer(), 2)
            survived = True
        except KilledError:
            killer["at"] = -1
        [version] = set(stored.distinct()["version"])
        assert named(stored, version) == [*"abca", None], f"killed at step {at}"
        sides.add(version)
        killer["at"] = -1
        rekey_file(stored, LocalRekeyer(), 2)
        assert named(stored, 2) == [*"abca", None]
        [receipt] = receipts_of(stored.path)
        assert (receipt.held, len(receipt.sample_from)) == (3, 96), "the sample is there whenever the file is"
        at += 1
    assert sides == {1, 2}
    assert at > 5


def test_a_receipt_proves_the_carrying_without_a_pseudonym(tmp_path: Path) -> None:
    stored = written(tmp_path, people([*"abc"]))
    rekey_file(stored, LocalRekeyer(), 2)
    [receipt] = receipts_of(stored.path)
    factor = ristretto255.quotient(SCALARS[2], SCALARS[1])
    assert ristretto255.multiply(factor, receipt.sample_from) == receipt.sample_to
    shown = receipt.sample_from + receipt.sample_to
    assert not any(element(name, version) in shown for name in "abc" for version in (1, 2))
    keep(stored.path, [])
    assert receipts_of(stored.path) == []
    assert [file.name for file in tmp_path.iterdir()] == ["folk.csv"]


def test_a_receipt_that_others_changed_is_refused(tmp_path: Path) -> None:
    stored = written(tmp_path, people([*"abc"]))
    stored.path.with_name("folk.csv.rekeyed.json").write_text("{")
    with pytest.raises(ExtractError) as refused:
        receipts_of(stored.path)
    assert refused.value.reason == "BAD_RECEIPT"
