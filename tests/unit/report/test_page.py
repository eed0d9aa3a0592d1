"""Is the page safe to open, without identifiers, and the same in both languages?"""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from kinlink.approvals import missing
from kinlink.change_document import Action, Change, Signer, SignerRole
from kinlink.report.figures import figures
from kinlink.report.month import Month
from kinlink.report.page import render
from kinlink.report.plots import age_charts
from kinlink.report.redact import LEFT_OUT
from kinlink.report.vocabulary import VOCABULARY
from kinlink.report.words import attacker
from tests.unit.report.month import MADE_AT, material

OCTOBER = Month.parse("2026-10")
PSEUDONYM = "kl1.source/prisme.1.dGhpcyBpcyBub3QgYSBwc2V1ZG9ueW0gYXQgYWxsISE"
PLANTED = ("610290-1234", "6102901234", "61 02 90 1234", "61.02.90-1234", "102901234", PSEUDONYM)
MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)><svg onload=alert(3)>&lt;"
VOID = {"meta", "input", "br", "img", "link", "hr"}


def page(found: Any) -> tuple[str, dict[str, Any]]:
    document = figures(found, OCTOBER, MADE_AT).document()
    return render(document), document


def planted(value: Any, text: str) -> Any:
    """Return the material with `text` at the end of every text of it, names of mappings included."""
    match value:
        case str():
            return f"{value} {text}"
        case date() | bool() | int() | float() | None:
            return value
        case dict():
            return {planted(name, text): planted(item, text) for name, item in value.items()}
        case tuple() | list():
            return type(value)(planted(item, text) for item in value)
        case _:
            assert is_dataclass(value)
            return replace(value, **{f.name: planted(getattr(value, f.name), text) for f in fields(value)})  # type: ignore[type-var]


class Reader(HTMLParser):
    """Takes the page apart: tags with their attributes, ids, and tags that do not close."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


@pytest.mark.parametrize("identifier", PLANTED)
def test_no_identifier_is_on_the_page_or_in_the_json(identifier: str) -> None:
    """It stands in every field that can hold text, and in none of what is written."""
    html, document = page(planted(material(), identifier))
    written = html + json.dumps(document, ensure_ascii=False)
    assert identifier not in written
    assert re.sub(r"\D", "", identifier)[:10] not in re.sub(r"[^0-9a-zA-Z<>]", "", written)
    assert LEFT_OUT in written
    assert document["left_out"] > 100
    assert document["lights"][-1]["status"] == "act"


def test_identifiers_would_be_found_if_they_were_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the test above: without redaction every field's text comes through."""
    monkeypatch.setattr("kinlink.report.redact.Redaction.text", lambda _self, text: text)
    html, document = page(planted(material(), PLANTED[0]))
    assert html.count(PLANTED[0]) > 200
    assert json.dumps(document).count(PLANTED[0]) > 200


def test_markup_in_any_text_stays_text() -> None:
    plain, _ = page(material())
    html, _ = page(planted(material(), MARKUP))
    reader, before = read(html), read(plain)
    names = {tag for tag, _ in reader.tags}
    assert names <= {tag for tag, _ in before.tags} | {"pattern"}
    assert "script" not in names
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
    assert "&lt;script&gt;" in html


def test_page_is_one_well_formed_file_that_fetches_and_runs_nothing() -> None:
    html, _ = page(material())
    reader = read(html)
    assert reader.open == []
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    for _, attributes in reader.tags:
        assert not {"src", "action", "formaction", "background", "srcset"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert re.findall(r"url\((?!#)", html) == []
    assert "@import" not in html
    policy = next(a["content"] for tag, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_ids_are_unique_and_every_reference_leads_to_one() -> None:
    html, _ = page(material())
    tags = read(html).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {(a.get("href") or "#")[1:] for tag, a in tags if tag == "a"}
    wanted |= {str(a["for"]) for _, a in tags if "for" in a}
    wanted |= {name for _, a in tags for name in (a.get("aria-labelledby") or "").split()}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", html))
    assert wanted <= set(ids)


def test_both_languages_are_there_with_the_same_rows_and_charts() -> None:
    html, _ = page(material())
    danish, english = html.split('<main lang="en"')[0], html.split('<main lang="en"')[1]
    for tag in ("<tr>", "<svg", "<section", "<caption", "<li"):
        assert danish.count(tag) - html.split("<main")[0].count(tag) == english.count(tag)
    assert "611.000" in danish
    assert "611,000" in english
    assert "Kun udgivne tabeller forlader huset" in danish
    assert "Only released tables leave the house" in english


def test_every_chart_has_a_title_and_a_description() -> None:
    html, _ = page(material())
    charts = re.findall(r'<svg class="chart".*?</svg>(?=\s*</figure>)', html, re.DOTALL)
    assert len(charts) >= 8
    for chart in charts:
        assert 'role="img"' in chart
        assert re.search(r"<title id=[^>]+>[^<]{10,}</title>", chart)
        assert re.search(r"<desc id=[^>]+>[^<]{10,}</desc>", chart)


def test_every_cell_of_every_table_says_its_column() -> None:
    """On a telephone a row is a list, and so each cell needs its column's name."""
    html, _ = page(material())
    for table in re.findall(r"<table[ >].*?</table>", html, re.DOTALL):
        columns = re.findall(r"<th(?: [^>]*)?>(.*?)</th>", table)
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", table.partition("<tbody>")[2], re.DOTALL):
            labels = re.findall(r'<td data-label="([^"]*)"', row)
            assert labels == columns or "colspan" in row


def test_status_is_said_in_words() -> None:
    html, _ = page(material())
    for words in ("I orden", "Se på det", "Handl", "Ikke kontrolleret", "In order", "Look at it", "Act", "Not checked"):
        assert f'<p class="status">{words}</p>' in html


def test_every_call_and_event_of_the_log_is_said_in_words() -> None:
    protos = (Path(__file__).resolve().parents[3] / "proto").rglob("*.proto")
    calls = {name for path in protos for name in re.findall(r"^\s*rpc (\w+)\(", path.read_text("utf-8"), re.MULTILINE)}
    events = {f"key.{name}" for name in ("create", "activate", "retire", "destroy", "compromise", "salvage", "attest")}
    assert "GetTable" in calls
    assert (calls | events) - set(VOCABULARY["call"]) == set()


@pytest.mark.parametrize(
    ("name", "danish", "english"),
    [
        ("outsider", "udenforstående", "outsider"),
        ("lone contributor", "familie, der kender sit eget tal", "family that knows its own number"),
        ("insider of SOF", "ansat i SOF", "insider of SOF"),
        ("another", "another", "another"),
    ],
)
def test_an_attacker_is_said_in_both_languages(name: str, danish: str, english: str) -> None:
    assert (attacker(name, "da"), attacker(name, "en")) == (danish, english)


def test_a_release_is_said_with_what_it_shows_and_what_it_was_proven_against() -> None:
    html, _ = page(material())
    assert "ansat i SOF; familie, der kender sit eget tal; udenforstående" in html
    assert re.search(r'data-label="Videreført" class="num"><div>4<', html)
    assert re.search(r'data-label="Linear programs" class="num"><div>412<', html)


def test_charts_of_ages_are_of_one_size() -> None:
    keys = [{"state": "active", "name": f"d cpr v{n}", "age_days": n, "limit_days": 730} for n in range(25)]
    assert [len(chart.bars) for chart in age_charts(keys)] == [9, 9, 7]


@pytest.mark.parametrize("roles", [(), ("custodian",), ("reviewer",), ("custodian", "custodian")])
def test_what_a_change_lacks_is_said_in_danish(roles: tuple[str, ...]) -> None:
    now = datetime.now(UTC)
    change = Change("id", "log", Action.ACTIVATE, "why", "custodian/a", now, now)
    people = [Signer(f"{role}/{place}", SignerRole(role), bytes(32)) for place, role in enumerate(roles)]
    lacks = missing(change, people)
    assert lacks is not None
    assert lacks.sentence in VOCABULARY["missing"]
