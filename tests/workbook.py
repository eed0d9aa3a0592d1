"""Reads workbooks without the library that wrote them: a workbook is a zip file of XML."""

from __future__ import annotations

import zipfile
from pathlib import Path
from xml.etree import ElementTree as Xml

_NS = {"s": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}

Value = str | float


def read(path: Path) -> dict[str, dict[str, Value]]:
    """Return each sheet's cells, by its name and their places ("B2"): text as str, numbers as float."""
    with zipfile.ZipFile(path) as file:
        strings = _xml(file, "sharedStrings.xml")
        shared = ["".join(part.text or "" for part in entry.iterfind(".//s:t", _NS)) for entry in strings]
        names = [sheet.attrib["name"] for sheet in _xml(file, "workbook.xml").iterfind(".//s:sheet", _NS)]
        sheets = [_xml(file, f"worksheets/sheet{n}.xml") for n in range(1, len(names) + 1)]
    return {name: _cells(sheet, shared) for name, sheet in zip(names, sheets, strict=True)}


def rows(sheet: dict[str, Value]) -> list[dict[str, Value]]:
    """Return the rows below the headings of the first line; an empty cell is no key."""
    heads = {place[:-1]: str(value) for place, value in sheet.items() if place[1:] == "1"}
    last = max(int(place[1:]) for place in sheet)
    return [
        {head: sheet[f"{column}{line}"] for column, head in heads.items() if f"{column}{line}" in sheet}
        for line in range(2, last + 1)
    ]


def _xml(file: zipfile.ZipFile, name: str) -> Xml.Element:
    return Xml.fromstring(file.read(f"xl/{name}"))  # noqa: S314 - the test's own file


def _cells(sheet: Xml.Element, shared: list[str]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for cell in sheet.iterfind(".//s:c", _NS):
        value = cell.find("s:v", _NS)
        if value is not None and value.text is not None:
            is_text = cell.attrib.get("t") == "s"
            found[cell.attrib["r"]] = shared[int(value.text)] if is_text else float(value.text)
    return found
