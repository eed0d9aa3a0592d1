"""An older key store put back is refused: at the start, at a reload and under a running service."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, text

from pseudonymizer.keyset import KeyName
from pseudonymizer.keystore import history, tables
from pseudonymizer.keystore.anchored import PREFIX, GenerationAnchors, Watch, name_of
from pseudonymizer.keystore.encryption_keys import KeyStoreError
from pseudonymizer.keystore.store import KeyStore
from servicekit.anchors import open_anchors
from servicekit.errors import UnavailableError
from tests.unit.keystore_place import CPR, LINKAGE, Place, rotate


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


@pytest.fixture
def engine(place: Place) -> Engine:
    return place.engine()


def _anchored(place: Place, folder: str = "anchors") -> list[str]:
    return sorted(path.name for path in (place.folder / folder / PREFIX).iterdir())


def test_each_generation_is_anchored_before_the_answer_and_names_the_one_before(place: Place, engine: Engine) -> None:
    store = place.start()
    rotate(store)
    documents = [history.parse(path.read_bytes()) for path in sorted((place.folder / "anchors" / PREFIX).iterdir())]
    assert [one.generation for one in documents] == [1, 2, 3]
    history.check_chain(documents)
    with store.change() as connection:
        assert store.manifest(connection) == documents[-1].manifest
    place.start()
    assert len(_anchored(place)) == 3, "nothing changed, nothing is anchored"
    assert b"sealed" not in documents[-1].content


def test_an_older_store_is_refused_at_the_start_with_what_to_do(place: Place, engine: Engine) -> None:
    store = place.start()
    kept = place.keep("older")
    rotate(store)
    place.put_back(kept)
    with pytest.raises(KeyStoreError, match=r"generation 1, file:anchors holds 3.*kinlink keystore restore"):
        place.start()
    place.start(anchors=[])  # the control: only the anchor tells


def test_another_store_of_the_same_generation_is_refused(place: Place, engine: Engine) -> None:
    place.start()
    kept = place.keep("older")
    rotate(place.start())
    place.put_back(kept)
    rotate(place.start(anchors=[]))
    with pytest.raises(KeyStoreError, match="generation 3 is not the one that file:anchors holds"):
        place.start()
    rotate(place.start(anchors=[]), LINKAGE)
    with pytest.raises(KeyStoreError, match="generation 3 is not the one that file:anchors holds"):
        place.start()


def test_an_older_store_under_a_running_service_is_found_at_the_next_look(place: Place, engine: Engine) -> None:
    store = place.start()
    anchors = GenerationAnchors(engine, open_anchors(["file:anchors"], place.folder))
    watch = Watch(engine, store, anchors)
    watch.once()
    assert store.refused == ""
    kept = place.keep("older")
    rotate(place.start())
    newest = place.keep("newest-2")
    generation = 3
    store.at(generation)
    place.put_back(kept)
    watch.once()
    assert "older key store was put back" in store.refused
    with pytest.raises(UnavailableError) as refused:
        store.at(1)
    assert refused.value.reason == "KEY_STORE_UNUSABLE"
    place.put_back(newest)
    watch.once()
    assert store.refused == ""
    assert store.at(generation).for_evaluation(KeyName(*CPR, 0)).name.version == 2, "the newest one is served again"


def test_another_replica_is_refused_at_its_reload_when_an_older_store_was_put_back(
    place: Place, engine: Engine
) -> None:
    replica = place.start()
    rotate(place.start())
    kept = place.keep("older")
    replica.at(3)
    rotate(place.start(), LINKAGE)
    place.put_back(kept)
    with engine.connect() as connection:
        generation = tables.generation(connection)
    assert replica.at(generation).generation == 3, "it never saw a newer one, and nothing is to be reloaded"
    with pytest.raises(KeyStoreError, match="older key store"):
        place.start()
    replica.refuse("as the watch does")
    with pytest.raises(UnavailableError):
        replica.at(generation)


def test_a_crash_between_commit_and_anchoring_is_healed_at_the_next_start(place: Place, engine: Engine) -> None:
    rotate(place.start())
    for generation in (2, 3):
        (place.folder / "anchors" / name_of(generation)).unlink()  # as if they had not been written yet
    place.start()
    assert _anchored(place) == [name_of(number).removeprefix(PREFIX) for number in (1, 2, 3)]


def test_a_store_whose_history_was_changed_is_refused(place: Place, engine: Engine) -> None:
    rotate(place.start())
    (place.folder / "anchors" / name_of(3)).unlink()
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM keystore_history WHERE generation = 2"))
    (place.folder / "anchors" / name_of(2)).unlink()
    with pytest.raises(KeyStoreError, match="does not hold together"):
        place.start()
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM keystore_history"))
    with pytest.raises(KeyStoreError, match="do not fit together"):
        place.start()


def test_an_anchor_that_cannot_be_read_stops_the_start_but_not_a_running_store(place: Place, engine: Engine) -> None:
    store = place.start()
    in_the_way = place.folder / "anchors" / name_of(10**20 - 1)
    in_the_way.mkdir()
    with pytest.raises(KeyStoreError, match="cannot be compared with its anchor"):
        place.start()
    store.refuse("to have it read again")
    assert store.at(1).generation == 1
    with pytest.raises(UnavailableError) as refused:
        rotate(store)
    assert refused.value.reason == "KEY_STORE_UNANCHORED"
    in_the_way.rmdir()
    with store.change():
        pass
    assert _anchored(place) == [name_of(number).removeprefix(PREFIX) for number in (1, 2)], "anchored by the next"


def test_two_anchors_are_written_and_each_is_compared(tmp_path: Path) -> None:
    place = Place(tmp_path, anchors=("file:anchors", "file:elsewhere"))
    store = place.start()
    kept = place.keep("older")
    rotate(store)
    assert _anchored(place) == _anchored(place, "elsewhere")
    place.put_back(kept)
    shutil.rmtree(tmp_path / "anchors")
    with pytest.raises(KeyStoreError, match="file:elsewhere holds 3"):
        place.start()
    place.close()


def test_a_document_that_was_changed_is_none(place: Place, engine: Engine) -> None:
    place.start()
    with engine.connect() as connection:
        content = bytes(connection.execute(select(history.history.c.document)).scalar_one())
    assert history.parse(content).generation == 1
    for changed in (content[:-1], content.replace(b'"role":"custodian"', b'"role":"reviewer"'), b"{}", b"\xff"):
        with pytest.raises(KeyStoreError, match="generation of a key store"):
            history.parse(changed)


def test_the_store_without_anchors_still_refuses_what_it_has_seen_newer(place: Place, engine: Engine) -> None:
    store: KeyStore = place.start(anchors=[])
    kept = place.keep("older")
    rotate(store)
    place.put_back(kept)
    with pytest.raises(UnavailableError):
        store.at(1)


def test_a_generation_slipped_in_between_is_found(place: Place, engine: Engine) -> None:
    store = place.start()
    rotate(store)
    with engine.begin() as connection:
        first, second, third = history.since(connection, 1)
        slipped = history.compose(second.manifest, third.previous, second.people)
        connection.execute(text("DELETE FROM keystore_history WHERE generation = 2"))
        history.insert_document(connection, slipped)
    assert (first.generation, third.previous) == (1, second.sha256)
    for generation in (2, 3):
        (place.folder / "anchors" / name_of(generation)).unlink()
    with pytest.raises(KeyStoreError, match="does not hold together at generation 2"):
        place.start()
