"""Can an operator change what the log says? Forgeries on a real service's database, and what `kinlink audit` says.

The pseudonymizer has run, and answered and refused; the data-protection officer (DPO) has kept two
checkpoints with their leaf hashes, an export, and the log's key. Then the operator forges, and
serves what it has forged; the DPO exports and verifies. Each forgery's entry is named; the
control, which nobody touched, passes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.stack import Stack
from kinlink.audit.findings import FindingKind as K
from kinlink.audit.note import Checkpoint, parse
from kinlink.channel import open_channel
from kinlink.errors import KinlinkError
from kinlink.pseudonymizer_client import PseudonymizerClient
from kinlink.pseudonyms import Kind, Suite
from tests.privacy.log_forger import Forger, altered
from tests.running import identity
from tests.served_log import ORIGIN, ask, configuration, said, served


@dataclass
class Kept:
    """What the DPO has, and the service's folder as it was when it stopped."""

    folder: Path
    service: Path
    certificates: Path
    key: str
    sizes: tuple[int, int]

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def earlier(self) -> Path:
        return self.folder / "2026-10.audit"


@pytest.fixture(scope="module")
def dpo(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Run the service, use it, keep what a DPO keeps, and stop it."""
    folder = tmp_path_factory.mktemp("stack")
    stack = Stack(folder)
    stack.prepare()
    address = stack.start("pseudonymizer").address
    mine = tmp_path_factory.mktemp("dpo")
    (mine / "checkpoints").mkdir()
    settings = configuration(mine, folder / "certs", address)
    try:
        use(folder / "certs", address, 4)
        key = said("checkpoint", "--key", settings)
        (mine / "log-key.txt").write_text(key)
        first, second = (mine / "checkpoints" / f"2026-{month}.checkpoint" for month in ("09", "10"))
        said("checkpoint", "--log-key", mine / "log-key.txt", "--out", first, settings)
        use(folder / "certs", address, 12)
        after = ("--after", first, "--out", second)
        said("checkpoint", "--log-key", mine / "log-key.txt", *after, settings)
        said("export", "--out", mine / "2026-10.audit", settings)
    finally:
        stack.stop("pseudonymizer")
    sizes = [Checkpoint.parse(parse(path.read_text()).text).size for path in (first, second)]
    return Kept(mine, folder / "pseudonymizer", folder / "certs", key.strip(), (sizes[0], sizes[1]))


def use(certificates: Path, address: str, calls: int) -> None:
    """Let a source pseudonymise, and be refused in a domain that is not its own."""
    with open_channel(address, identity(certificates, "source-prisme")) as channel:
        for call in range(calls):
            domain = "source/prisme" if call % 3 else "source/ky"
            client = PseudonymizerClient(channel, domain=domain, suite=Suite.SYNTHETIC)
            with suppress(KinlinkError):
                client.evaluate([f"61019{call:05}"], Kind.CPR)


@pytest.fixture
def operator(dpo: Kept, tmp_path: Path) -> Forger:
    """The operator, with a copy of the service's folder."""
    folder = tmp_path / "service"
    shutil.copytree(dpo.service, folder)
    return Forger(folder, ORIGIN)


def exported(dpo: Kept, operator: Forger) -> Path:
    """Let the DPO export what the operator serves."""
    out = operator.folder.parent / "now.audit"
    with served(operator.folder, dpo.certificates) as settings:
        said("export", "--out", out, settings)
    return out


def verified(dpo: Kept, export: Path, checkpoints: Path, *more: str | Path) -> dict[tuple[str, int, int], str]:
    """Verify an export; return the findings by kind and range."""
    told = (export, "--checkpoint", checkpoints, "--log-key", dpo.key, "--json", *more)
    code, text = ask("verify", *told)
    document = json.loads(text)
    assert code == (0 if document["ok"] else 6)
    assert document["ok"] == (not document["findings"])
    return {(f["kind"], f["first"], f["end"]): f["text"] for f in document["findings"]}


def plain(dpo: Kept, tmp_path: Path) -> Path:
    """Return a folder with the checkpoints alone, without their leaf hashes."""
    folder = tmp_path / "plain"
    folder.mkdir()
    for path in dpo.checkpoints.glob("*.checkpoint"):
        shutil.copy(path, folder)
    return folder


def test_untouched_log_passes(dpo: Kept, operator: Forger, tmp_path: Path) -> None:
    export = exported(dpo, operator)
    for checkpoints in (dpo.checkpoints, plain(dpo, tmp_path)):
        assert verified(dpo, export, checkpoints) == {}
        assert verified(dpo, export, checkpoints, "--earlier", dpo.earlier) == {}
    code, text = ask("verify", export, "--checkpoint", dpo.checkpoints, "--log-key", dpo.key)
    assert code == 0
    assert f"nothing was found. The first {dpo.sizes[1]} entries are those that you kept" in text
    assert len(operator.contents()) > dpo.sizes[1] > dpo.sizes[0] > 26


# The forged entry: between the two kept checkpoints, and one whose row holds its leaf hash alone.
def victim(dpo: Kept) -> int:
    return dpo.sizes[0] + 2 + dpo.sizes[0] % 2


def without(at: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda contents: [*contents[:at], *contents[at + 1 :]]


def changed(at: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda contents: [*contents[:at], altered(contents[at]), *contents[at + 1 :]]


def inserted(at: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda contents: [*contents[:at], altered(contents[at]), *contents[at:]]


def swapped(at: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda contents: [*contents[:at], contents[at + 3], *contents[at + 1 : at + 3], contents[at],
                             *contents[at + 4 :]]  # fmt: skip


REBUILT: dict[Callable[[int], Callable[[list[bytes]], list[bytes]]], tuple[K, ...]] = {
    changed: (K.ENTRY_CHANGED,),
    without: (K.ENTRY_REMOVED,),
    inserted: (K.ENTRY_INSERTED,),
    swapped: (K.ENTRY_MOVED, K.ENTRY_MOVED),
}


@pytest.mark.parametrize("forgery", REBUILT, ids=lambda forgery: forgery.__name__)
def test_log_rebuilt_and_signed_again_is_caught(
    dpo: Kept, operator: Forger, tmp_path: Path, forgery: Callable[[int], Callable[[list[bytes]], list[bytes]]]
) -> None:
    """The operator has the key, and everything it serves is consistent in itself."""
    at = victim(dpo)
    operator.rebuild(forgery(at))
    export = exported(dpo, operator)
    kinds = REBUILT[forgery]
    entries = {(str(kind), at + 3 * n, at + 3 * n + 1) for n, kind in enumerate(kinds)}
    rebuilt = (str(K.LOG_REBUILT), *dpo.sizes)
    assert set(verified(dpo, export, dpo.checkpoints)) == {*entries, rebuilt}
    bare = plain(dpo, tmp_path)
    assert set(verified(dpo, export, bare)) == {rebuilt}
    found = verified(dpo, export, bare, "--earlier", dpo.earlier)
    forks = [key for key in found if key[0] == K.FORK]
    assert set(found) == {*entries, rebuilt, *forks}
    assert len(forks) == 1
    assert forks[0][1] <= at < forks[0][2]
    assert f"ntry {at} " in "".join(found.values()) or f"place {at} " in "".join(found.values())


@pytest.mark.parametrize("forgery", [Forger.edit, Forger.edit_with_hash, Forger.delete], ids=lambda f: f.__name__)
def test_row_edited_in_the_database_is_caught(
    dpo: Kept, operator: Forger, tmp_path: Path, forgery: Callable[[Forger, int], None]
) -> None:
    at = victim(dpo)
    forgery(operator, at)
    export = exported(dpo, operator)
    kind = K.ENTRY_REMOVED if forgery is Forger.delete else K.ENTRY_CHANGED
    named = (str(kind), at, at + 1)
    assert named in verified(dpo, export, dpo.checkpoints)
    found = set(verified(dpo, export, plain(dpo, tmp_path)))
    if forgery is Forger.edit:
        assert found == {named}  # its own leaf hash says so
    elif forgery is Forger.delete:
        assert named in found  # the entries' indices say so
    else:
        assert found
        assert all(kind == K.CHECKPOINT_FAILS and first <= at < end for kind, first, end in found)


def test_log_truncated_behind_the_kept_checkpoint_is_caught(dpo: Kept, operator: Forger, tmp_path: Path) -> None:
    left = dpo.sizes[0] - 10
    operator.rebuild(lambda contents: contents[:left])
    export = exported(dpo, operator)
    for checkpoints in (dpo.checkpoints, plain(dpo, tmp_path)):
        found = verified(dpo, export, checkpoints)
        ends = [(first, end) for kind, first, end in found if kind == K.LOG_TRUNCATED]
        assert len(ends) == 1
        assert left <= ends[0][0] < ends[0][1] == dpo.sizes[0]


def test_log_signed_with_another_key_is_caught(dpo: Kept, operator: Forger) -> None:
    operator.change_key()
    operator.rebuild(changed(victim(dpo)))
    found = verified(dpo, exported(dpo, operator), dpo.checkpoints)
    assert {(K.FOREIGN_KEY, None, None), (K.ENTRY_CHANGED, victim(dpo), victim(dpo) + 1)} <= set(found)


def test_checkpoint_signed_by_another_key_is_caught(dpo: Kept, operator: Forger, tmp_path: Path) -> None:
    """Handed to the DPO as if it were the log's: not accepted when it is fetched, nor when it is verified with."""
    operator.change_key()
    operator.rebuild(list)
    forged = tmp_path / "2026-11.checkpoint"
    with served(operator.folder, dpo.certificates) as settings:
        code, text = ask("checkpoint", "--log-key", dpo.key, "--out", forged, settings)
        assert (code, forged.exists()) == (4, False)
        assert "LOG_KEY_DIFFERS" in text
        lines = said("checkpoint", "--key", settings).splitlines()  # the service logs to this process
        own = next(line for line in lines if line.startswith(ORIGIN))
        said("checkpoint", "--log-key", own, "--out", forged, settings)
    found = verified(dpo, dpo.earlier, forged)
    assert list(found) == [(K.FOREIGN_KEY, None, None)]
    assert "2026-11.checkpoint" in next(iter(found.values()))


def test_forged_log_is_refused_where_it_is_kept_and_proven(dpo: Kept, operator: Forger, tmp_path: Path) -> None:
    """Without any export: the next checkpoint does not continue the last, and the entry cannot be proven."""
    at = victim(dpo)
    last = dpo.checkpoints / "2026-10.checkpoint"
    told = ("--log-key", dpo.key, "--after", last, "--out")
    proof = (str(at), "--checkpoint", last, "--log-key", dpo.key)
    with served(operator.folder, dpo.certificates) as settings:
        said("checkpoint", *told, tmp_path / "honest.checkpoint", settings)
        assert f'"index":{at}' in said("prove", *proof, settings)
    operator.rebuild(changed(at))
    with served(operator.folder, dpo.certificates) as settings:
        code, text = ask("checkpoint", *told, tmp_path / "forged.checkpoint", settings)
        assert code == 6
        assert "does not continue" in text
        assert not (tmp_path / "forged.checkpoint").exists()
        code, text = ask("prove", *proof, settings)
        assert code == 6
        assert f"Entry {at} is not the one" in text
