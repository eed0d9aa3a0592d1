"""A release that cannot be proven is refused, by name, and the last one stays in service: over the wire.

Every department is reckoned with here. First only one spends; then another pays benefits to two families, and the first
takes the same back: the sum is nothing, which is no secret, and the people of one need only subtract.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

import polars as pl
import pytest

from examples.stack import Stack
from kinlink.client_config import ClientConfig
from kinlink.linkage_client import LinkageClient
from kinlink.pseudonymizer_client import PseudonymizerClient
from kinlink.pseudonyms import Kind, Suite
from kinlink.statistics_client import StatisticsClient
from linker.settings import LinkerSettings
from tests.acceptance.test_linker import CATALOGUE, OPERATOR, channel, deliver, requests
from tests.unit import linker_fixtures as given

CONSUMER = "consumer/velfaerdsanalyse"
FAMILIES = [f"family {number}" for number in range(12)]
WHO = ("mother", "child")
BACK = "SOF-TILBAGEBETALING"


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("refused")
    shipped = LinkerSettings.model_fields["disclosure"].default.read_text("utf-8")
    strict = folder / "strict.toml"
    strict.write_text(shipped.replace("department_insiders = false", "department_insiders = true"), "utf-8")
    with Stack(folder / "stack", settings={"linker": {"disclosure": str(strict), "disclosure_signers": []}}) as started:
        yield started


def elements(stack: Stack, source: str, names: Sequence[str], kind: Kind = Kind.CPR) -> list[bytes]:
    """Return the pseudonyms of names, which stand for numbers and addresses here, in a source's domain."""
    with ClientConfig.load(stack.client(f"source/{source}")).pseudonymizer_channel() as opened:
        client = PseudonymizerClient(opened, domain=f"source/{source}", suite=Suite.SYNTHETIC)
        packed, _ = client.evaluate(names, kind)
    return [packed[place : place + 32] for place in range(0, len(packed), 32)]


def residents(stack: Stack) -> pl.DataFrame:
    """Return a mother and a child for each family, at an address of their own."""
    mothers, children = (elements(stack, "folkeregister", [f"{who} of {each}" for each in FAMILIES]) for who in WHO)
    addresses = elements(stack, "folkeregister", FAMILIES, Kind.ADDRESS)
    rows: list[dict[str, object]] = []
    for mother, child, address in zip(mothers, children, addresses, strict=True):
        shared = {
            "address": address, "sex": "f", "civil_status": "U", "status": 1,
            "municipality": 101, "district": "Nord", "valid_from": date(2010, 1, 1),
        }  # fmt: skip
        rows.append({"person": mother, "age_anchor": date(1980, 2, 1), **shared})
        rows.append({"person": child, "mother": mother, "age_anchor": date(2008, 2, 1), **shared})
    return given.frame("persons", rows)


def posted(stack: Stack, families: Sequence[str], **fields: object) -> pl.DataFrame:
    """Return a posting for the mother of each family."""
    mothers = [f"mother of {family}" for family in families]
    rows = given.postings(*mothers, **fields)
    return rows.with_columns(pl.Series("person", elements(stack, "prisme", mothers), dtype=rows.schema["person"]))


def test_unproven_release_is_refused_by_name_and_the_last_stays_in_service(stack: Stack) -> None:
    catalogue = pl.concat([CATALOGUE, CATALOGUE.head(1).with_columns(service=pl.lit(BACK), department=pl.lit("SOF"))])
    deliver(stack, "prisme", requests("prisme", "catalogue", catalogue, kinds=()))
    kinds = (Kind.CPR, Kind.ADDRESS)
    deliver(stack, "folkeregister", requests("folkeregister", "persons", residents(stack), kinds=kinds))
    spent = posted(stack, FAMILIES, amount_ore=40_000_000)
    deliver(stack, "prisme", requests("prisme", "postings", spent))
    told = ("link", "run", "--reference-date", "2015-01-01")
    first = stack.run(OPERATOR, *told, check=False)
    assert first.returncode == 0, first.stdout + first.stderr
    with channel(stack, CONSUMER) as opened:
        statistics = StatisticsClient(opened)
        before = [statistics.get_table(table.table_id) for table in statistics.list_tables() if table.periods]
    assert "spending_per_family" in {table.definition.table_id for table in before}

    paid = posted(stack, FAMILIES[:2], department="BIF", service="BIF-KONTANTHJAELP", amount_ore=900_000)
    back = posted(stack, FAMILIES[:2], department="SOF", service=BACK, amount_ore=-900_000)
    deliver(stack, "prisme", requests("prisme", "postings", spent, paid, back))
    second = stack.run(OPERATOR, *told, check=False)
    assert "refused: not proven for" in second.stdout
    assert second.returncode == 4, second.stderr
    with channel(stack, OPERATOR) as opened:
        outcomes = [each for each in LinkageClient(opened).get().tables if each.table_id != "families"]
    for outcome in outcomes:
        assert outcome.outcome.startswith("refused: not proven for spending"), outcome
        assert "; next: " in outcome.outcome
        assert "the live tables stay in service" in outcome.outcome
    assert {each.release_id for each in outcomes} == {table.release_id for table in before}
    with channel(stack, CONSUMER) as opened:
        statistics = StatisticsClient(opened)
        after = [statistics.get_table(table.table_id) for table in statistics.list_tables() if table.periods]
    assert after == before
