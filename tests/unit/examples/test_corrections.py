"""What do the two sources of the demo's second month deliver again?"""

from __future__ import annotations

from pathlib import Path

from examples.corrections import corrected

HEALTH = "CPR|Ydelse|Dato|Antal|Enhedspris\n|TAND|09/03/2014|1|526,76\n|SPL|01/04/2014|3|1.000,00\n"
CULTURE = "Cpr;Tilskud;Sæson;Beløb\n" + "".join(f";Musikskole;Forår 2014;{n}00,05\n" for n in range(1, 6))


def test_prices_rise_for_everybody_and_three_rows_double(tmp_path: Path) -> None:
    for name, content in (("sundhed/sundhed_2014.txt", HEALTH), ("kultur/kultur_fritid.csv", CULTURE)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(content, encoding="utf-8")

    again = corrected(tmp_path, tmp_path / "new")

    assert [delivery.mapping for delivery in again] == ["sundhed", "kultur"]
    health = (tmp_path / "new/sundhed/sundhed_2014.txt").read_text("utf-8").splitlines()
    assert [line.rpartition("|")[2] for line in health] == ["Enhedspris", "542,56", "1030,00"]
    assert health[1].startswith("|TAND|09/03/2014|1|")
    culture = (tmp_path / "new/kultur/kultur_fritid.csv").read_text("utf-8").splitlines()
    amounts = ["Beløb", "200,10", "400,10", "600,10", "400,05", "500,05"]
    assert [line.rpartition(";")[2] for line in culture] == amounts
