"""`kinlink release protect`: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from linker.commands import release

POLICY = """
[protection]
threshold = 3
p_percent = 15
dominance = [[1, 75]]
interval_percent = 5
interval_minimum = 2.5
zeros_are_disclosive = false
singletons = true

[table]
axes = ["area", "kind"]
total = "alle"
value = "kroner"
count = "families"
largest = ["first", "second"]

[table.subtotals.area]
north = ["a1", "a2"]
"""
AREAS, KINDS = ("a1", "a2", "a3", "a4"), ("k1", "k2", "k3")
SUMS = {"north": ("a1", "a2"), "alle": AREAS}


def cells(path: Path, *, small: bool = True) -> Path:
    """Write a table with amounts of two decimals; of `small`, two families in one cell."""
    inner = {
        (area, kind): [100.25 + 9 * i + j, 90, 80, 70, 60]
        for i, area in enumerate(AREAS)
        for j, kind in enumerate(KINDS)
    }
    if small:
        inner["a1", "k1"] = [2.25, 3.5]
    with path.open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["kind", "area", "families", "kroner", "first", "second"])
        for area in (*AREAS, *SUMS):
            for kind in (*KINDS, "alle"):
                within = sorted(
                    amount
                    for (a, k), amounts in inner.items()
                    if a in SUMS.get(area, (area,)) and kind in {k, "alle"}
                    for amount in amounts
                )
                out.writerow([kind, area, len(within), f"{sum(within):.2f}", within[-1], within[-2]])
    return path


def run(folder: Path, policy: str = POLICY, table: Path | None = None) -> int:
    given = folder / "policy.toml"
    given.write_text(policy)
    table = table or cells(folder / "cells.csv")
    return release(["protect", str(table), "--policy", str(given), "-o", str(folder / "out.csv")])


def written(folder: Path) -> dict[tuple[str, str], str]:
    with (folder / "out.csv").open() as file:
        return {(row["area"], row["kind"]): row["kroner"] for row in csv.DictReader(file)}


def test_protect_writes_values_as_they_were_or_dots_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path) == 0
    found = written(tmp_path)
    assert (tmp_path / "out.csv").read_text().splitlines()[0] == "area,kind,kroner"
    assert len(found) == 24
    assert found["a1", "k1"] == ".."
    assert sum(value == ".." for value in found.values()) >= 4
    assert found["a3", "alle"] == "1257.75"
    said = capsys.readouterr().out
    assert "24 cells" in said
    assert "0 failures, 0 unchecked" in said
    assert "1 × outsider" in said


def test_protect_hides_nothing_where_nothing_is_small(tmp_path: Path) -> None:
    assert run(tmp_path, table=cells(tmp_path / "cells.csv", small=False)) == 0
    assert ".." not in written(tmp_path).values()


def test_protect_reckons_with_a_sum_that_the_file_lacks(tmp_path: Path) -> None:
    """A row that is left out is not shown; nothing else becomes safer by it than by hiding it."""
    table = cells(tmp_path / "cells.csv")
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(line for line in lines if not line.startswith("alle,a1,")))
    assert run(tmp_path, table=table) == 0
    found = written(tmp_path)
    assert ("a1", "alle") not in found
    assert found["a1", "k1"] == ".."


def test_protect_refuses_and_writes_nothing_when_the_pattern_is_not_proven(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A family that is alone in an area knows that all else there is zero, whatever is hidden."""
    table = tmp_path / "cells.csv"
    inner = {("a1", "k1"): 1, ("a1", "k2"): 0, ("a2", "k1"): 9, ("a2", "k2"): 9}
    lines = ["area,kind,families,kroner,first,second"]
    for area in ("a1", "a2", "alle"):
        for kind in ("k1", "k2", "alle"):
            count = sum(n for (a, k), n in inner.items() if area in {a, "alle"} and kind in {k, "alle"})
            lines.append(f"{area},{kind},{count},{50 * count},{50 * min(count, 1)},{50 * (count > 1)}")
    table.write_text("\n".join(lines) + "\n")
    policy = POLICY.replace("zeros_are_disclosive = false", "zeros_are_disclosive = true")
    assert run(tmp_path, policy.partition("[table.subtotals")[0], table) == 4
    assert not (tmp_path / "out.csv").exists()
    said = capsys.readouterr()
    assert "not proven for a1, k2" in said.err
    assert "1 failures" in said.out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("threshold = 3\n", ""), "threshold"),
        (('largest = ["first", "second"]', ""), "largest"),
        (('value = "kroner"', 'value = "dkk"'), "dkk"),
        (('north = ["a1", "a2"]', 'north = ["a1", "a2"]\nsouth = []'), "south"),
        (('total = "alle"', "can_be_negative = true"), "negative"),
        (("[table]", "[table"), "TOML"),
        (("p_percent = 15", "p_procent = 15"), "policy file: [protection] has no key p_procent; its keys: threshold"),
        (("p_percent = 15", "p_percent = 0.15"), "whole"),
        (("[table.subtotals", 'insider_of = "area"\n[table.subtotals'), "insider_of"),
        (('total = "alle"', 'total = "all"'), "no row is a total of area"),
    ],
)
def test_protect_refuses_a_policy_file_and_names_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], message: str
) -> None:
    assert run(tmp_path, POLICY.replace(*change)) == 3
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("k1,a3,5,", "k1,a3,many,", "line 10: families"),
        ("k1,a3,5,", "k1,a3,-5,", "line 10: families"),
        ("k1,a3,5,", "k2,a3,5,", "line 11 is the same cell as line 10"),
        ("k1,a3,5,418.25", "k1,a3,5,419.25", "do not add up"),
        ("k1,a3,5,", "k1,a3,0,", "line 10: kroner is not 0, but families is"),
        ("k1,a3,5,418.25,118.25", "k1,a3,5,418.25,419.25", "line 10: second is more than first, or first more"),
        ("k1,a3,5,418.25,118.25,90", "k1,a3,5,418.25,1.18,.9", "line 10: families contributors of at most first"),
        ("kind,area,", "kind;area,", "the header lacks area, kind"),
    ],
)
def test_protect_refuses_cells_and_names_the_line_never_the_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    table = cells(tmp_path / "cells.csv")
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new))
    assert run(tmp_path, table=table) == 3
    said = capsys.readouterr().err
    assert message in said
    assert "419" not in said


def test_protect_asks_for_commas_and_utf_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What Excel writes in Denmark has semicolons, and letters of its own."""
    table = cells(tmp_path / "cells.csv")
    text = table.read_text()
    table.write_text(text.replace(",", ";"))
    assert run(tmp_path, table=table) == 3
    assert "save it with commas between columns" in capsys.readouterr().err
    table.write_text(text.replace("a3", "å3"), encoding="latin-1")
    assert run(tmp_path, table=table) == 3
    assert "must be UTF-8" in capsys.readouterr().err


def test_protect_does_not_write_over_what_it_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = cells(tmp_path / "out.csv")
    before = table.read_text()
    assert run(tmp_path, table=table) == 3
    assert table.read_text() == before
    assert "name another file" in capsys.readouterr().err


def test_protect_gives_the_same_pattern_when_rows_are_in_another_order(tmp_path: Path) -> None:
    assert run(tmp_path) == 0
    first = written(tmp_path)
    table = tmp_path / "cells.csv"
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([header, *reversed(rows)]) + "\n")
    assert run(tmp_path, table=table) == 0
    assert written(tmp_path) == first
