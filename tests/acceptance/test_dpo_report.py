"""The data-protection officer's report of a running town, in a real browser: laptop, telephone and paper.

The pictures lie in .demo/reports/ after the run. They are there to be looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from examples.deliveries import DELIVERIES
from examples.log_control import DPO, keep
from kinlink.audit.note import VerifierKey
from kinlink.report.figures import figures
from kinlink.report.month import Month
from kinlink.report.page import render
from tests.acceptance.browser import A4_TEXT_PX, Browser
from tests.acceptance.conftest import Town
from tests.unit.report.month import MADE_AT, material

OUT = Path(__file__).resolve().parents[2] / ".demo" / "reports"
CONSUMER = "consumer/velfaerdsanalyse"
LAPTOP, TELEPHONE = 1280, 390
A4_PT = (595, 842)


@dataclass(frozen=True, slots=True)
class Report:
    """A page and its JSON."""

    page: Path
    document: dict[str, Any]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return Browser(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def months() -> str:
    """The month it is now: that of the town's logs, unless the run began in another."""
    return f"{datetime.now(UTC):%Y-%m}"


@pytest.fixture(scope="module")
def town_report(town: Town, months: str, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of the town, made by the command."""
    folder = tmp_path_factory.mktemp("dpo")
    OUT.mkdir(parents=True, exist_ok=True)
    town.stack.run(CONSUMER, "table", "get", "coverage")
    keep(town.stack.run, folder / "kept")
    page, as_json = OUT / "town.html", OUT / "town.json"
    options = ("--kept", folder / "kept", "-o", page, "--json", as_json)
    said = town.stack.run(DPO, "dpo", "report", "--month", months, *options, check=False)
    assert said.returncode == 0, said.stderr
    assert "wrote: " in said.stdout
    return Report(page, json.loads(as_json.read_text("utf-8")))


@pytest.fixture(scope="module")
def written_report() -> Report:
    """The report of the month written by hand, in which everything happens."""
    OUT.mkdir(parents=True, exist_ok=True)
    document = figures(material(), Month.parse("2026-10"), MADE_AT).document()
    page = OUT / "written.html"
    page.write_text(render(document), encoding="utf-8")
    return Report(page, document)


@pytest.fixture(params=["town_report", "written_report"])
def report(request: pytest.FixtureRequest) -> Iterator[Report]:
    found: Report = request.getfixturevalue(request.param)
    yield found
    print(f"\npictures: {OUT}")  # noqa: T201 - shown with the test's output


def test_report_says_what_happened_in_the_town(town_report: Report) -> None:
    found = town_report.document
    lights = {light["title"]["en"]: light["status"] for light in found["lights"]}
    assert lights["The logs were not changed"] == "ok"
    assert lights["Proof outside the services"] == "ok"
    assert lights["Identifiers in the log"] == "ok"
    assert lights["Who can sign"] == "ok"
    assert lights["Changes of keys are signed"] == "ok"
    assert "act" not in lights.values()

    delivered = [(row["source"], row["dataset"]) for row in found["deliveries"] if row["event"] == "accepted"]
    assert len(delivered) == len(DELIVERIES)
    assert lights["Released tables were attacked"] == "ok"
    assert {row["table_id"] for row in found["tables"]} >= {"coverage"}
    assert all(row["cells"] == row["shown"] + row["carried"] + row["suppressed"] > 0 for row in found["tables"])
    (release,) = found["releases"]
    assert release["in_month"]
    assert release["attackers"]
    assert (release["failures"], release["unchecked"]) == (0, 0)
    assert {row["release_id"] for row in found["tables"]} == {release["release_id"]}
    assert CONSUMER in {row["caller"] for row in found["readings"] if row["table"] == "coverage"}
    assert {("linker/familie", "Convert"), ("source/prisme", "Evaluate")} <= {
        (row["caller"], row["operation"]) for row in found["volumes"]
    }
    assert {key["state"] for key in found["key_versions"]} <= {"active", "retiring", "destroyed"}
    assert len(found["genesis"]) == 64


def test_sample_is_of_both_logs_proven_and_the_same_when_drawn_again(
    town: Town, town_report: Report, months: str, tmp_path: Path
) -> None:
    """Drawn again from exports, it is the same: its seed is the month and the root."""
    first = town_report.document
    assert {row["service"] for row in first["sample"]} == {"pseudonymizer", "linker"}
    assert len(first["sample"]) == 20
    assert all(row["proven"] for row in first["sample"])
    exports = []
    for log in first["logs"]:
        path = tmp_path / f"{log['service']}.audit"
        end = ("--end", str(log["size"]), "--out", path)
        town.stack.run(DPO, "audit", "export", "--service", log["service"], *end)
        exports += [f"--{log['service']}-export", path]
    again = tmp_path / "again.json"
    town.stack.run(DPO, "dpo", "report", "--month", months, *exports, "-o", tmp_path / "again.html", "--json", again)
    second = json.loads(again.read_text("utf-8"))
    roots = [log["root"] for log in first["logs"]]
    for number, log in enumerate(second["logs"]):
        if log["root"] == roots[number]:
            of = [row["index"] for row in first["sample"] if row["service"] == log["service"]]
            assert [row["index"] for row in second["sample"] if row["service"] == log["service"]] == of
        assert log["size"] <= first["logs"][number]["size"]


def test_tampered_log_and_foreign_key_are_to_act_on(town: Town, months: str, tmp_path: Path) -> None:
    """One letter of one entry of an export is another; and the key that was kept is another log's."""
    kept, export = tmp_path / "kept", tmp_path / "pseudonymizer.audit"
    keep(town.stack.run, kept)
    town.stack.run(DPO, "audit", "export", "--service", "pseudonymizer", "--out", export)
    lines = export.read_bytes().splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if b'"outcome":"ok"' in line and b"Evaluate" in line)
    index = json.loads(lines[place])["entry"]["index"]
    lines[place] = lines[place].replace(b'"source/', b'"sourcf/')
    export.write_bytes(b"".join(lines))
    linker = kept / "linker.key.txt"
    name, _, rest = (kept / "pseudonymizer.key.txt").read_text("utf-8").partition("+")
    public = VerifierKey.parse(f"{name}+{rest}").public
    linker.write_text(str(VerifierKey("kinlink.test/linker", public)), encoding="utf-8")

    out = tmp_path / "report.json"
    options = ("--pseudonymizer-export", export, "--kept", kept, "-o", tmp_path / "report.html", "--json", out)
    said = town.stack.run(DPO, "dpo", "report", "--month", months, *options, check=False)
    assert said.returncode == 0, said.stderr
    found = json.loads(out.read_text("utf-8"))
    lights = {light["title"]["en"]: light for light in found["lights"]}
    assert lights["The logs were not changed"]["status"] == "act"
    assert "pseudonymizer, linker" in lights["The logs were not changed"]["text"]["en"]
    first, second = found["logs"]
    assert any(text.startswith("entry changed: ") and f"ntry {index} " in text for text in first["findings"])
    assert second["key_kept"] is False
    assert "NOT the kept key" in (tmp_path / "report.html").read_text("utf-8")


def test_input_that_is_none_is_refused_with_a_reason(town: Town, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.audit").write_text("{}\n", encoding="utf-8")
    page = ("-o", tmp_path / "report.html")
    for options, reason in (
        (("--month", "2026-13"), "REQUEST_INVALID"),
        (("--month", "2026-10", "--kept", tmp_path / "empty"), "NOTHING_KEPT"),
        (("--month", "2026-10", "--linker-export", tmp_path / "no.audit"), "NO_EXPORT"),
    ):
        said = town.stack.run(DPO, "dpo", "report", *options, *page, check=False)
        assert said.returncode == 3, said.stderr
        assert f"[{reason}]" in said.stderr
    said = town.stack.run(CONSUMER, "dpo", "report", "--month", "2026-10", *page, check=False)
    assert said.returncode == 4, said.stderr
    assert not (tmp_path / "report.html").exists()


def test_no_number_of_the_extracts_is_in_the_report(town: Town, town_report: Report) -> None:
    numbers = set()
    for path in (town.municipality / "extracts").rglob("*"):
        if path.is_file():
            numbers |= set(re.findall(rb"(?<!\d)\d{6}-?\d{4}(?!\d)", path.read_bytes()))
    assert len(numbers) > 1000
    written = town_report.page.read_bytes() + json.dumps(town_report.document).encode()
    inside = set(re.findall(rb"(?<!\d)\d{6}-?\d{4}(?!\d)", written))
    assert not numbers & inside


def test_page_fits_laptop_and_telephone(report: Report, browser: Browser) -> None:
    """Nothing lies beside the page, in either language, and each language is shown when chosen."""
    for measured in browser.measure(report.page, LAPTOP, TELEPHONE):
        width = measured["wide"]
        shown = {name: found["shown"] for name, found in measured["choices"].items()}
        assert shown == {"choose-en": ["en"], "choose-both": ["da", "en"], "choose-da": ["da"]}
        for found in measured["choices"].values():
            assert found["outside"] == []
            assert found["scroll"] == width
        browser.picture(report.page, OUT / f"{report.page.stem}-{width}.png", width, measured["height"] + 60)
        assert (OUT / f"{report.page.stem}-{width}.png").stat().st_size > 50_000


def test_page_that_does_not_fit_is_found(written_report: Report, browser: Browser, tmp_path: Path) -> None:
    """The control of the test above and of the one below."""
    wide = tmp_path / "wide.html"
    text = written_report.page.read_text("utf-8")
    wide.write_text(text.replace("<h2>", '<div style="width:700px">wide</div><h2>', 1), encoding="utf-8")
    (telephone,) = browser.measure(wide, TELEPHONE)
    assert telephone["choices"]["choose-da"]["scroll"] > TELEPHONE
    assert telephone["choices"]["choose-da"]["outside"] != []
    (paper,) = browser.measure(wide, A4_TEXT_PX, printed=True)
    assert paper["choices"]["choose-da"]["outside"] != []


def test_page_prints_whole_to_a4(report: Report, browser: Browser) -> None:
    (paper,) = browser.measure(report.page, A4_TEXT_PX, printed=True)
    assert [found["outside"] for found in paper["choices"].values()] == [[], [], []]

    out = OUT / f"{report.page.stem}.pdf"
    browser.print(report.page, out)
    pages = PdfReader(out).pages
    assert 4 <= len(pages) <= 30
    texts = [re.sub(r"\s+", " ", page.extract_text()) for page in pages]
    for number, page in enumerate(pages, 1):
        assert tuple(round(float(side)) for side in (page.mediabox.width, page.mediabox.height)) == A4_PT
        assert f"{number} / {len(pages)}" in texts[number - 1]
        assert len(texts[number - 1]) > 120  # no page that is empty but for its foot
    whole = " ".join(texts)
    for heading in (
        "Overblik",
        "Nøgleskift og underskrifter",
        "Bevillinger: hvem må hvad",
        "Afviste og mislykkede kald",
        "Månedens stikprøve",
        "Er loggene ægte?",
        "Hvad rapporten ikke kan vise",
    ):
        assert heading in whole
    assert "Kontrolleret af:" in whole
    assert "Only released tables" not in whole  # one language, the one chosen
    for row in report.document["key_versions"]:
        assert row["domain"] in whole


def test_page_asks_for_nothing(report: Report, browser: Browser, tmp_path: Path) -> None:
    assert browser.requested(report.page) == set()
    asking = tmp_path / "asking.html"
    asking.write_text('<img src="http://example.test/x.png">', encoding="utf-8")
    assert browser.requested(asking) == {"http://example.test/x.png"}
