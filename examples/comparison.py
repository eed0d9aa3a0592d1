"""The demo's figures beside the published ones and the synthetic municipality's truth.

All but those of the released cross-tab are exact figures from behind the gate, which no consumer gets.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

from examples.exact import Exact, family_of
from examples.stack import CONSUMER, Stack
from kinlink.client_config import ClientConfig
from kinlink.statistics_client import StatisticsClient

PUBLISHED = json.loads((Path(__file__).parent / "municipality/published.json").read_text("utf-8"))["published"]
DEPARTMENTS = ("3", "4", "5")
THRESHOLD = 5  # of the shipped disclosure policy
OTHERS_HIDDEN = 10  # at most, beside the cells below the threshold


@dataclass(frozen=True, slots=True)
class Line:
    """One figure: as found, as published, as the synthetic municipality has it, and whether it holds."""

    label: str
    found: str
    published: str
    truth: str
    holds: bool


def compare(frames: Exact, stack: Stack, municipality: Path) -> list[Line]:
    """Compare exact frames with the truth in `municipality`, figure by figure."""
    expected = json.loads((municipality / "truth/expected.json").read_text("utf-8"))
    families = frames.families.with_columns(
        target=pl.col("family_id").is_in(frames.target["family_id"].implode()),
    )
    return [
        *_characteristics(families, expected),
        *_services(frames, expected),
        *_released_services(frames, stack),
        *_spending(frames, families, expected),
        *_identity(frames, stack, municipality),
    ]


def _characteristics(families: pl.DataFrame, expected: dict[str, dict[str, int]]) -> list[Line]:
    lines = []
    for group, rows in (("target", families.filter("target")), ("others", families.filter(~pl.col("target")))):
        found = {
            "families": rows.height,
            "persons": int(rows["n_persons"].sum()),
            "adults": int(rows["n_adults"].sum()),
            "children": int(rows["n_children"].sum()),
            "single_providers": int(rows["single_provider"].sum()),
        }
        # A town has fewer others than Copenhagen: its counts of them have no published figure.
        whole = expected[group]["families"] == PUBLISHED["families"][group]
        for name, n in found.items():
            published = PUBLISHED[name][group]
            holds = n == expected[group][name] and (n == published or not whole)
            label = f"{group}: {name.replace('_', ' ')}"
            shown = _grouped(published) if whole else ""
            lines.append(Line(label, _grouped(n), shown, _grouped(expected[group][name]), holds))
        share = 100 * found["single_providers"] / max(found["families"], 1)
        children = found["children"] / max(found["families"], 1)
        percent, per_family = PUBLISHED["share_single_percent"][group], PUBLISHED["children_per_family"][group]
        lines += [
            Line(f"{group}: share single, %", _decimal(share, 2), str(percent), "", round(share) == percent),
            Line(
                f"{group}: children per family",
                _decimal(children, 2),
                _decimal(per_family, 1),
                "",
                round(children, 1) == per_family,
            ),
        ]
    return lines


def _services(frames: Exact, expected: dict[str, dict[str, list[int]]]) -> list[Line]:
    columns = PUBLISHED["services_by_departments"]["columns"]
    counted = _counted(frames).with_columns(
        n=pl.when(pl.col("n") > 20).then(pl.lit(">20")).otherwise(pl.col("n").cast(pl.String))
    )
    cells = {(d, n): count for d, n, count in counted.group_by("d", "n").len().iter_rows()}
    published = PUBLISHED["services_by_departments"]
    equal = sum(
        cells.get((int(d), column), 0) == published[d][i] == expected["services_by_departments"][d][i]
        for d in DEPARTMENTS
        for i, column in enumerate(columns)
    )
    outside = counted.height - sum(cells.get((int(d), c), 0) for d in DEPARTMENTS for c in columns)
    rows = [sum(cells.get((int(d), c), 0) for c in columns) for d in DEPARTMENTS]
    totals = [sum(cells.get((int(d), c), 0) for d in DEPARTMENTS) for c in columns]
    margins = sum(n == sum(published[d]) for n, d in zip(rows, DEPARTMENTS, strict=True))
    margins += sum(n == sum(published[d][i] for d in DEPARTMENTS) for i, n in enumerate(totals))
    n_cells = len(columns) * len(DEPARTMENTS)
    return [
        Line("services × departments: cells equal", f"{equal}", f"{n_cells}", f"{n_cells}", equal == n_cells),
        _equal("services × departments: margins equal", margins, len(columns) + 3, str(len(columns) + 3)),
        _equal("services × departments: families outside", outside, 0, "0"),
    ]


def _counted(frames: Exact) -> pl.DataFrame:
    """Return family_id, n, d: how many services and departments each target family uses."""
    services = frames.services.join(frames.target, on="family_id", how="semi")
    return services.group_by("family_id").agg(
        n=pl.struct("department", "service").n_unique(), d=pl.col("department").n_unique()
    )


def _released_services(frames: Exact, stack: Stack) -> list[Line]:
    """Compare the cross-tab as a consumer reads it: what is shown is true, what is small is hidden, and little else."""
    with ClientConfig.load(stack.client(CONSUMER)).linker_channel() as channel:
        table = StatisticsClient(channel).get_table("services_by_departments")
    truth: Counter[tuple[str, ...]] = Counter()
    for n, d in _counted(frames).select(pl.col("n").clip(5, 21), pl.col("d").clip(3, 5)).iter_rows():
        services, departments = {5: "≤5", 21: "≥21"}.get(n, str(n)), {3: "≤3", 5: "≥5"}.get(d, str(d))
        truth.update((s, t) for s in (services, "all") for t in (departments, "all"))
    shown = {cell.categories: cell.value for cell in table.cells if cell.status == "published"}
    hidden = {cell.categories for cell in table.cells if cell.status == "suppressed"}
    totals = [("all", departments) for departments in ("≤3", "4", "≥5", "all")]
    small = {cell for cell, count in truth.items() if 0 < count < THRESHOLD}
    wrong = sum(truth[cell] != value for cell, value in shown.items())
    kept = sum(shown.get(cell) == truth[cell] for cell in totals)
    others = len(hidden - small)
    label = "released cross-tab:"
    return [
        Line(f"{label} wrong numbers", str(wrong), "", "0", wrong == 0 and len(shown) > len(hidden)),
        _equal(f"{label} row totals and 612", kept, len(totals)),
        _equal(f"{label} few families, hidden", len(small & hidden), len(small)),
        Line(f"{label} others hidden", str(others), "", f"≤ {OTHERS_HIDDEN}", others <= OTHERS_HIDDEN),
    ]


def _spending(frames: Exact, families: pl.DataFrame, expected: dict[str, dict[str, dict[str, int]]]) -> list[Line]:
    per_family: dict[str, dict[str, float]] = {}
    lines = []
    for group, rows in (("target", families.filter("target")), ("others", families.filter(~pl.col("target")))):
        spending = frames.spending.join(rows, on="family_id", how="semi")
        sums = {
            "general": _sum(spending, pl.col("area") == "general"),
            "special": _sum(spending, pl.col("area") == "special"),
            "transfer": _sum(spending, pl.col("type") == "transfer"),
            "administration": _sum(spending, pl.col("type") == "administration"),
        }
        truth = expected[group]["linked_ore"]
        lines += [_equal(f"{group}: {name}, øre", sums[name], truth[name]) for name in sums]
        per_family[group] = {name: amount / 100 / max(rows.height, 1) for name, amount in sums.items()}
    target, others = per_family["target"], per_family["others"]
    kr = PUBLISHED["kr_per_family"]
    without = target["general"] + target["special"] + target["transfer"]
    offers = target["general"] + target["special"]
    total = without * families["target"].sum() / 1e6
    special = kr["special_target_over_times_others"]
    return [
        *lines,
        _near("target: general, kr. per family", target["general"], kr["general_target"]),
        _near("target: transfers, kr. per family", target["transfer"], kr["transfers_target"]),
        _near("others: general, kr. per family", others["general"], kr["general_others"]),
        Line("target: offers, kr. per family", _kr(offers), "knap 428.000", "", 427_000 < offers <= 428_000),
        Line(
            "target: administration, kr. per family",
            _kr(target["administration"]),
            "over 25.000",
            "",
            25_000 < target["administration"] < 26_000,
        ),
        Line(
            "target: total with adm., kr. per family",
            _kr(without + target["administration"]),
            "næsten 600.000",
            "",
            580_000 < without + target["administration"] < 600_000,
        ),
        Line("target: total without adm., mio. kr.", _decimal(total, 1), "knap 350", "", 340 < total < 350),
        Line(
            "target's special area / others'",
            _decimal(target["special"] / max(others["special"], 1), 1),
            f"over {special}",
            "",
            target["special"] > special * others["special"],
        ),
    ]


def _identity(frames: Exact, stack: Stack, municipality: Path) -> list[Line]:
    """Compare families person by person: the linker's target group is the truth's, and no near miss is in it."""
    truth = pl.read_parquet(municipality / "truth/families.parquet").select("family", "target")
    members = pl.read_parquet(municipality / "truth/members.parquet").join(truth, on="family")
    misses = {miss["family"] for miss in json.loads((municipality / "truth/near_misses.json").read_text("utf-8"))}
    asked = members.filter(pl.col("target") | pl.col("family").is_in(sorted(misses)))
    found = asked.join(family_of(stack, frames, asked["cpr"].to_list()), on="cpr", how="left").with_columns(
        in_target=pl.col("family_id").is_in(frames.target["family_id"].implode()).fill_null(value=False)
    )
    inside = found.filter(pl.col("target"))
    same = inside.group_by("family").agg(one=pl.col("family_id").n_unique() == 1, all=pl.col("in_target").all())
    near = found.filter(pl.col("family").is_in(sorted(misses)))
    return [
        _equal("target families formed of the same persons", int((same["one"] & same["all"]).sum()), same.height),
        _equal("near-miss families in the target group", near.filter("in_target")["family"].n_unique(), 0),
        _equal("near-miss families looked up", near["family"].n_unique(), len(misses)),
    ]


def _sum(spending: pl.DataFrame, rows: pl.Expr) -> int:
    return int(spending.filter(rows)["amount_ore"].sum())


def _equal(label: str, found: int, truth: int, published: str = "") -> Line:
    return Line(label, _grouped(found), published, _grouped(truth), found == truth)


def _near(label: str, found: float, expected: int) -> Line:
    return Line(label, _kr(found), f"{_grouped(expected)} (± 500)", "", abs(found - expected) <= 500)


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", ".")


def _decimal(number: float, decimals: int) -> str:
    return f"{number:.{decimals}f}".replace(".", ",")


def _kr(amount: float) -> str:
    return _grouped(round(amount))


def as_text(lines: Sequence[Line]) -> str:
    """Return the comparison as a person reads it."""
    shown = Table(box=None, pad_edge=False, padding=(0, 1))
    shown.add_column("figure", no_wrap=True)
    for name in ("kinlink", "published", "truth"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("")
    for line in lines:
        shown.add_row(line.label, line.found, line.published, line.truth, "ok" if line.holds else "DIFFERS")
    text = io.StringIO()
    Console(file=text, width=100).print(shown)
    rows = [row.rstrip() for row in text.getvalue().splitlines()]
    return "\n".join([*rows, "", f"{len(lines) - len(failed(lines))} of {len(lines)} figures hold.", ""])


def failed(lines: Sequence[Line]) -> list[Line]:
    """Return the lines that do not hold."""
    return [line for line in lines if not line.holds]
