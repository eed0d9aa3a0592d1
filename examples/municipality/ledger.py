"""Turns events into the rows of the source systems' books, spoils some identifiers, and scales the amounts.

1. Three frames: `spells` (priced), `postings` (prisme, sundhed, kultur) and `benefits` (ky rows).
   `unit` is a relative price until `price` makes it øre.
2. Link-breaking dirt is chosen before costs are scaled, and never hits a row marked `kept` nor a family's first row of
   a service in 2014: no counted service loses its only evidence.
3. Then amounts are scaled, per group (target, others) and component, so that what links *exactly* meets the calibrated
   kroner a family. What does not link comes on top.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from examples.municipality.calibration import COMPONENTS, YEAR_START, figures
from examples.municipality.events import Events
from examples.municipality.people import NONE, Families, People
from examples.municipality.profiles import BY_SERVICE, REFUND_SHARE, SPELL_EXTRACTS, catalogue

YEAR_END = np.datetime64("2015-01-01", "D")
GOOD, MISSING, EXCHANGED, REPLACEMENT, SHORT = range(5)
# Share of the rows that may be hit: no CPR, digits exchanged, replacement number, eight digits.
_SPOILT = {
    "prisme": (0.03, 0.001, 0.0, 0.0),
    "dubu": (0.02, 0.001, 0.0, 0.0),
    "voksen": (0.05, 0.001, 0.0, 0.002),
    "ky": (0.01, 0.001, 0.0, 0.0),
    "institution": (0.012, 0.001, 0.0, 0.002),
    "elev": (0.006, 0.001, 0.0, 0.002),
    "sundhed": (0.02, 0.001, 0.002, 0.002),
    "kultur": (0.03, 0.001, 0.05, 0.0),
}
_DAY = np.timedelta64(1, "D")


def _month(months: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """First days of months of 2014, counted from 0; -1 is December 2013, 12 is January 2015."""
    return (np.datetime64("2014-01", "M") + months.astype(np.int64)).astype("M8[D]")


def _uses_of(events: Events, extracts: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    uses = events.uses.columns()
    extract = np.array([BY_SERVICE[service].extract for service in uses["service"].tolist()])
    wanted = np.isin(extract, extracts)
    return {name: column[wanted] for name, column in {**uses, "extract": extract}.items()}


def spells(events: Events, people: People, rng: np.random.Generator) -> pl.DataFrame:
    """Priced spells, none before birth. One in 25 of the institutions' is split; a quarter overlap by ten days."""
    uses = _uses_of(events, SPELL_EXTRACTS)
    n = len(uses["person"])
    price = np.array([BY_SERVICE[service].price for service in uses["service"].tolist()], dtype=np.float64)
    start = np.where(uses["extract"] == "elev", YEAR_START, np.maximum(uses["start"], people.birth[uses["person"]]))
    end = np.where(uses["extract"] == "elev", YEAR_END, np.maximum(uses["end"], start + 7 * _DAY))
    covers = (start < np.datetime64("2014-04-01")) & (np.isnat(end) | (end > np.datetime64("2014-10-01")))
    split = (uses["extract"] == "institution") & covers & (rng.random(n) < 0.04)
    middle = np.datetime64("2014-06-01", "D") + rng.integers(0, 60, n) * _DAY
    overlap = np.where(rng.random(n) < 0.25, 10, 0) * _DAY
    columns = {**uses, "unit": price * rng.gamma(6.0, 1 / 6.0, n), "start": start, "end": end}
    first = pl.DataFrame({**columns, "end": np.where(split, middle + overlap, end)})
    second = pl.DataFrame({**columns, "start": middle}).filter(pl.Series(split))
    rows = pl.concat([first, second])
    rows = pl.concat([rows, _of_nobody(rows.filter(pl.col("extract") != "dubu"), int(n * 0.008), rng)])
    from_, until = rows["start"].to_numpy(), rows["end"].to_numpy()
    until = np.where(np.isnat(until), YEAR_END, np.minimum(until, YEAR_END))
    days = np.maximum((until - np.maximum(from_, YEAR_START)).astype(np.int64), 0)
    return rows.with_columns(pl.Series("days", days), pl.Series("in_year", days > 0))


def _of_nobody(rows: pl.DataFrame, n: int, rng: np.random.Generator) -> pl.DataFrame:
    """Draw `n` of the rows as rows of persons whom nobody knows, at other prices."""
    drawn = rows[rng.choice(len(rows), n)]
    unit = pl.col("unit") * pl.Series(rng.uniform(0.5, 2.0, n))
    return drawn.with_columns(pl.lit(NONE, pl.Int64).alias("person"), unit=unit)


def postings(events: Events, rng: np.random.Generator) -> pl.DataFrame:
    """Postings in 2014 by month, with refunds of BIF's offers, reversals, and other years and dransts."""
    uses = _uses_of(events, ("prisme", "sundhed", "kultur"))
    times = np.array([BY_SERVICE[service].postings for service in uses["service"].tolist()], dtype=np.int64)
    price = np.array([BY_SERVICE[service].price for service in uses["service"].tolist()], dtype=np.float64)
    at = np.repeat(np.arange(len(times)), times)
    running = np.arange(len(at)) - np.repeat(np.cumsum(times) - times, times)
    stride = 12 // np.maximum(times, 1)
    month = (rng.integers(0, 12, len(times))[at] + running * stride[at]) % 12
    extract = uses["extract"][at]
    summer = np.isin(uses["service"][at], ["KFF-FERIETILBUD"])
    month = np.where(extract == "kultur", np.where(summer, 6, np.where(month % 2 == running % 2, 0, 7)), month)
    month = np.where((extract == "kultur") & (times[at] == 2), np.where(running == 0, 0, 7), month)
    n = len(at)
    quantity = np.where(extract == "sundhed", rng.integers(1, 4, n), 1)
    rows = pl.DataFrame(
        {
            "extract": extract,
            "person": uses["person"][at],
            "service": uses["service"][at],
            "kept": uses["kept"][at],
            "month": month,
            "quantity": quantity,
            "unit": (price * rng.gamma(6.0, 1 / 6.0, len(price)))[at] * rng.uniform(0.8, 1.2, n) / quantity,
            "dranst": np.ones(n, np.int64),
            "note": np.full(n, "", "U8"),
            "first": running == 0,
        }
    )
    prisme = rows.filter((pl.col("extract") == "prisme") & ~pl.col("service").str.ends_with("-ADM"))
    refunds = prisme.filter(pl.col("service").str.starts_with("BIF-")).with_columns(
        quantity=pl.lit(-1, pl.Int64),
        unit=pl.col("unit") * 0.5,
        dranst=pl.lit(2, pl.Int64),
        first=pl.lit(value=False),
        kept=pl.lit(value=True),
    )
    again = prisme.filter(~pl.col("first")).with_columns(pl.Series("u", rng.random(int((~prisme["first"]).sum()))))
    wrong = again.filter(pl.col("u") < 0.012).with_columns(
        note=pl.lit("fejl"), kept=pl.lit(value=True), unit=pl.col("unit") * 1.7
    )
    reversal = wrong.with_columns(quantity=pl.lit(-1, pl.Int64))
    other_year = again.filter(pl.col("u").is_between(0.02, 0.05)).with_columns(
        month=pl.when(pl.col("u") < 0.035).then(-1).otherwise(12).cast(pl.Int64)
    )
    other_dranst = again.filter(pl.col("u").is_between(0.06, 0.066)).with_columns(dranst=pl.lit(5, pl.Int64))
    extra = [part.select(rows.columns) for part in (refunds, wrong, reversal, other_year, other_dranst)]
    n_prisme = int((rows["extract"] == "prisme").sum()) + sum(map(len, extra))
    rows = pl.concat([rows, *extra, _of_nobody(prisme, int(n_prisme * 0.073), rng)]).with_columns(
        in_year=pl.col("month").is_between(0, 11)
    )
    late = pl.Series("late", rng.random(len(rows)) < 0.15) & (rows["extract"] == "prisme")
    return rows.with_columns(
        pl.Series("event_month", _month(rows["month"].to_numpy())),
        pl.Series("booked_month", _month(rows["month"].to_numpy() + late.to_numpy())),
    )


def benefits(events: Events, rng: np.random.Generator) -> pl.DataFrame:
    """The rows of ky: history before 2014 in whole periods without amounts, then month by month."""
    periods = events.benefits.columns()
    n = len(periods["person"])
    start, end = periods["start"], periods["end"]
    price = np.array(
        [BY_SERVICE[service].price if service in BY_SERVICE else 0.0 for service in periods["service"].tolist()]
    ) * rng.gamma(12.0, 1 / 12.0, n)
    blocks = []
    history = start < YEAR_START
    blocks.append(_benefit_rows(periods, np.flatnonzero(history), start, np.minimum(end, YEAR_START), np.zeros(n)))
    longer = (np.minimum(end, YEAR_START) - start).astype(np.int64) > 120
    overlapping = np.flatnonzero(history & longer & ~periods["kept"] & (rng.random(n) < 0.05))
    # Within the period, so that distinct days stay what they are.
    blocks.append(_benefit_rows(periods, overlapping, start + 30 * _DAY, start + 75 * _DAY, np.zeros(n)))
    for month in range(13):
        first, after = _month(np.array([month, month + 1]))
        from_, until = np.maximum(start, first), np.minimum(end, after)
        which = np.flatnonzero(until > from_)
        share = (until - from_).astype(np.int64) / (after - first).astype(np.int64)
        blocks.append(_benefit_rows(periods, which, from_, until, price * share))
    # What has no amount is left alone: two blank numbers would make two equal lines.
    rows = pl.concat(blocks).with_columns(kept=pl.col("kept") | (pl.col("unit") == 0.0))
    in_year = (rows["end"].to_numpy() > YEAR_START) & (rows["start"].to_numpy() < YEAR_END)
    return rows.with_columns(
        pl.Series("in_year", in_year),
        pl.Series("event_month", rows["start"].to_numpy().astype("M8[M]").astype("M8[D]")),
        extract=pl.lit("ky"),
        quantity=pl.lit(1, pl.Int64),
    )


def _benefit_rows(
    periods: dict[str, npt.NDArray[Any]],
    which: npt.NDArray[Any],
    start: npt.NDArray[Any],
    end: npt.NDArray[Any],
    unit: npt.NDArray[Any],
) -> pl.DataFrame:
    columns = {name: periods[name][which] for name in ("person", "service", "visitation", "kept")}
    return pl.DataFrame({**columns, "start": start[which], "end": end[which], "unit": unit[which]})


def spoil(rows: pl.DataFrame, people: People, rng: np.random.Generator) -> pl.DataFrame:
    """Add `dirt`: what is wrong with the row's identifier. Rule 2 says which rows may be hit."""
    person = rows["person"].to_numpy()
    family = np.where(person == NONE, NONE, people.family[person])
    by = ["family", "service", *(["visitation"] if "visitation" in rows.columns else [])]
    firsts = (
        rows.with_columns(pl.Series("family", family))
        .with_row_index("row")
        .filter(pl.col("in_year") & (pl.col("family") != NONE))
        .group_by(by)
        .agg(pl.col("row").min())
    )
    first = np.zeros(len(rows), np.bool_)
    first[firsts["row"].to_numpy()] = True
    # Rows from before 2014 carry the year on support; they are left alone as well.
    kept = rows["kept"].to_numpy() | first | ~rows["in_year"].to_numpy()
    known = sorted(_SPOILT)
    rates = np.array([_SPOILT[name] for name in known])[
        np.searchsorted(known, rows["extract"].to_numpy().astype("U16"))
    ]
    limits = np.cumsum(rates, axis=1)
    drawn = rng.random(len(rows))
    kinds = np.array([MISSING, EXCHANGED, REPLACEMENT, SHORT, GOOD])
    dirt = kinds[(drawn[:, None] >= limits).sum(axis=1)]
    dirt = np.where(kept, GOOD, dirt)
    return rows.with_columns(pl.Series("dirt", np.where(person == NONE, MISSING, dirt)))


def price(frames: dict[str, pl.DataFrame], people: People, families: Families) -> dict[str, pl.DataFrame]:
    """Scale `unit` to øre (`unit_ore`), and add `family`, `amount_ore` (net, for 2014) and `linked`."""
    entries = catalogue()
    n_target = int(families.is_target.sum())
    wanted = figures()["invented"]["kr_per_family"]
    marked = {}
    for name, rows in frames.items():
        person = rows["person"].to_numpy()
        family = np.where(person == NONE, NONE, people.family[person])
        components = np.array([entries[service].component for service in rows["service"].to_list()])
        factor_of = np.where((family >= 0) & (family < n_target), "target", "others")
        marked[name] = rows.with_columns(
            pl.Series("family", family),
            pl.Series("component", components),
            pl.Series("group", factor_of),
            linked=pl.col("dirt") == GOOD,
        )
    factors: dict[tuple[str, str], float] = {}
    for name, n in (("target", n_target), ("others", len(families) - n_target)):
        for component in COMPONENTS:
            now = sum(
                float(_weight(rows.filter((pl.col("group") == name) & (pl.col("component") == component))))
                for rows in marked.values()
            )
            factors[name, component] = wanted[name][component] * n * 100 / now
    return {name: _to_ore(rows, factors) for name, rows in marked.items()}


def _net(unit: pl.Expr, rows: pl.DataFrame) -> pl.Expr:
    """The row's net amount for 2014 in terms of `unit`."""
    if "days" in rows.columns:
        return (
            (unit * pl.col("days") * 2 + 7) // 14
            if unit.meta.output_name() == "unit_ore"
            else unit * pl.col("days") / 7
        )
    counted = pl.col("in_year")
    if "dranst" in rows.columns:
        counted = counted & pl.col("dranst").is_in([1, 2])
    return pl.when(counted).then(unit * pl.col("quantity")).otherwise(0)


def _weight(rows: pl.DataFrame) -> float:
    linked = rows.filter(pl.col("linked") & (pl.col("family") != NONE))
    return float(linked.select(_net(pl.col("unit"), linked)).to_series().sum() or 0.0)


def _to_ore(rows: pl.DataFrame, factors: dict[tuple[str, str], float]) -> pl.DataFrame:
    factor = pl.DataFrame(
        [(group, component, value) for (group, component), value in factors.items()],
        schema={"group": pl.String, "component": pl.String, "factor": pl.Float64},
        orient="row",
    )
    out = rows.join(factor, on=["group", "component"], how="left", maintain_order="left").with_columns(
        unit_ore=(pl.col("unit") * pl.col("factor").fill_null(0.0)).round(0).cast(pl.Int64)
    )
    if "visitation" in out.columns:
        share = pl.col("service").replace_strict(REFUND_SHARE, default=0.0, return_dtype=pl.Float64)
        out = out.with_columns(gross_ore=(pl.col("unit_ore") / (1 - share)).round(0).cast(pl.Int64)).with_columns(
            refund_ore=pl.col("gross_ore") - pl.col("unit_ore")
        )
    if "dranst" in out.columns:
        # What names nobody costs, row for row, as much as what does, whichever group the others' factor is made for.
        nobody = pl.col("person") == NONE
        even = pl.col("unit_ore").filter(~nobody).mean() / pl.col("unit_ore").filter(nobody).mean()
        level = pl.when(nobody).then(even.over("extract")).otherwise(1.0)
        out = out.with_columns(unit_ore=(pl.col("unit_ore") * level).round(0).cast(pl.Int64))
    return out.with_columns(amount_ore=_net(pl.col("unit_ore"), out).cast(pl.Int64)).drop("factor")
