"""`kinlink release`: what of a table is shown, and what a release was proven against.

`protect` joins this group where the linker's packages are installed (`joined`).
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from kinlink.cli.deliver import Config
from kinlink.cli.table import console
from kinlink.cli.table_layout import lay_out
from kinlink.cli.table_text import draw
from kinlink.cli.table_words import STATUSES, period, title
from kinlink.client_config import ClientConfig
from kinlink.released import Cell, ProtectionRules, Release, Table, TableRecord
from kinlink.statistics_client import StatisticsClient

SIGNS = {"published": "█", "carried": "▒", "suppressed": "·"}
_STYLES = {"published": "green", "carried": "yellow", "suppressed": "red"}
_MEANS = {
    "published": "tallet i denne revision",
    "carried": "tallet fra en tidligere revision; det nuværende vises ikke",
    "suppressed": "tallet findes, men vises ikke; det er ikke 0",
}
_WHY = (
    "Et tal skjules, når {few} familier står bag det, når en eller to familier er det meste af et beløb, eller når det "
    "sammen med de viste tal ville røbe et tal, der skal skjules. De skjulte tal beskytter hinanden. Hvilken grund der "
    "gælder for et tal, siges ikke: det ville røbe noget i sig selv."
)
_WHY_CARRIED = (
    "Et tal videreføres, når forskellen mellem det gamle og det nye tal kunne røbe en ændring hos få familier, eller "
    "når det nye tal ellers skal skjules."
)
_CONSEQUENCE = "Viste tal giver derfor ikke altid deres total; forskellen er summen af de skjulte, ikke et enkelt tal."
_ATTACKERS = {
    "outsider": "udenforstående, der kun kender de viste tal",
    "lone contributor": "familie, der er alene om et tal og kender sit eget",
}
_BAR = 20


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        help="See what of a table is shown, and why.", epilog="Example: kinlink release show", no_args_is_help=True
    )
    group.command("show", epilog="Example: kinlink release show spending_per_family --period 2014")(show)
    app.add_typer(group, name="release")


def show(
    table_id: Annotated[
        str, typer.Argument(help="The table; without it all that you may read.", metavar="[TABLE]", show_default=False)
    ] = "",
    period_: Annotated[
        str, typer.Option("--period", help="The period; without it the newest.", show_default=False)
    ] = "",
    release: Annotated[str, typer.Option(help="The release to show; without it the newest.", show_default=False)] = "",
    config: Config = None,
) -> None:
    """Draw what a released table shows, carries and suppresses, and say why. Never which rule hid which number.

    A data-protection officer, who reads no table, gets the record of each release instead: what was shown, who
    attacked, what was proven.
    """
    found = ClientConfig.load(config)
    _, role, _ = found.caller()
    page = console()
    with found.linker_channel() as channel:
        client = StatisticsClient(channel)
        if role == "dpo":
            releases = [each for each in client.list_releases() if release in ("", each.release_id)]
            _records(page, releases, table_id, period_)
        elif table_id:
            _pattern(page, client.get_table(table_id, period_, release))
        else:
            _overview(page, [client.get_table(each.table_id) for each in client.list_tables() if each.periods])


def _pattern(page: Console, table: Table) -> None:
    page.print(title(table), style="bold", highlight=False)
    layout = lay_out(table, page.width, lambda cell: SIGNS[cell.status])
    grid = draw(layout, _sign, "center")
    page.print(grid, width=max(page.width, page.measure(grid).maximum) if not page.is_terminal else None)
    counts = Counter(cell.status for cell in table.cells)
    for status, sign in SIGNS.items():
        line = Text.assemble((sign, _STYLES[status]), f" {STATUSES[status]}: {counts[status]} ({_MEANS[status]})")
        page.print(line)
    if sum(cell is not None for row in layout.rows for cell in row.cells) < len(table.cells):
        page.print(
            "Antallene er af hele tabellen. Gentagelser og rækker, hvor alt er 0, er ikke tegnet.", highlight=False
        )
    page.print()
    reasons = []
    if counts["suppressed"]:
        least = table.definition.threshold
        reasons += [_WHY.format(few=f"1 til {least - 1}" if least > 1 else "få"), _CONSEQUENCE]
    if counts["carried"]:
        reasons.append(_WHY_CARRIED)
    for reason in reasons or ["Alt vises: intet tal røber noget om få familier."]:
        page.print(textwrap.fill(reason, page.width), highlight=False)
    page.print(f"udgivelse {table.release_id}, revision {table.revision}", highlight=False)


def _sign(cell: Cell | None) -> Text:
    return Text(" ") if cell is None else Text(SIGNS[cell.status], _STYLES[cell.status])


def _overview(page: Console, tables: Sequence[Table]) -> None:
    grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("Tabel", "Periode"):
        grid.add_column(heading, no_wrap=True)
    for heading in (*STATUSES.values(), "i alt"):
        grid.add_column(heading.capitalize(), justify="right")
    grid.add_column("Fordeling", no_wrap=True)
    for table in tables:
        counts = Counter(cell.status for cell in table.cells)
        numbers = [str(counts[status]) for status in STATUSES]
        grid.add_row(table.definition.table_id, table.period, *numbers, str(len(table.cells)), _bar(counts))
    page.print(grid)
    page.print(", ".join(f"{sign} {STATUSES[status]}" for status, sign in SIGNS.items()), highlight=False)
    page.print("Mønstret for en tabel: kinlink release show TABEL", highlight=False)


def _bar(counts: Counter[str]) -> Text:
    """Return a bar of fixed length; what there is of a status takes at least one place."""
    total = sum(counts.values())
    widths = {status: max(1, round(_BAR * counts[status] / total)) for status in SIGNS if counts[status]}
    if widths:
        widest = max(widths, key=lambda status: widths[status])
        widths[widest] += _BAR - sum(widths.values())
    return Text.assemble(*((SIGNS[status] * width, _STYLES[status]) for status, width in widths.items()))


def _records(page: Console, releases: Sequence[Release], table_id: str, wanted: str) -> None:
    shown = 0
    for release in releases:
        tables = [each for each in release.tables if table_id in ("", each.table_id) and wanted in ("", each.period)]
        if not tables:
            continue
        shown += 1
        day = release.released_at.date().isoformat()
        page.print(f"Udgivelse {release.release_id}, {day}", style="bold", highlight=False)
        grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("Tabel", "Periode"):
            grid.add_column(heading)
        for heading in ("Revision", "Vist", "Videreført", "Skjult", "I alt"):
            grid.add_column(heading, justify="right")
        for each in tables:
            numbers = (each.revision, each.shown, each.carried, each.suppressed, each.cells)
            grid.add_row(f"{each.title_da}\n{each.table_id}", period(each.period), *map(str, numbers))
        page.print(grid)
        _rules(page, tables)
        _proof(page, release)
    if not shown:
        page.print("Intet er udgivet." if not releases else "Ingen udgivelse har det.", highlight=False)


def _rules(page: Console, tables: Sequence[TableRecord]) -> None:
    """Say each policy's numbers once, and for which tables they are not known any more."""
    policies = {each.rules.policy: each.rules for each in tables if each.rules}
    lines = [f"regler »{name}«: {'; '.join(_numbers(rules))}" for name, rules in policies.items()]
    if others := [each.table_id for each in tables if not each.rules]:
        lines.append(
            f"regler for {', '.join(others)}: udgivet efter en tidligere politik; tallene står i filen med aftrykket "
            "nedenfor"
        )
    for line in lines:
        page.print(textwrap.fill(line, page.width, subsequent_indent="  "), highlight=False)


def _numbers(rules: ProtectionRules) -> Iterator[str]:
    yield f"tal om 1 til {rules.threshold - 1} familier skjules"
    if rules.p_percent:
        yield f"beløb skjules, når alle andre end de to største giver under {rules.p_percent} % af den største"
    for largest, percent in rules.dominance:
        who = "den største giver" if largest == 1 else f"de {largest} største giver"
        yield f"eller når {who} over {percent} %"
    kroner = f"{rules.interval_minimum_ore // 100:,}".replace(",", ".")
    yield f"et skjult beløb kan være mindst {rules.interval_percent} % og {kroner} kr. større og mindre"
    yield f"en familie, der er alene om et tal, er {'' if rules.singletons else 'ikke '}angriber"
    yield f"forvaltninger, der kender deres egne tal, er {'' if rules.department_insiders else 'ikke '}angribere"


def _proof(page: Console, release: Release) -> None:
    attackers = [_ATTACKERS.get(name, name.replace("insider of", "ansat i")) for name in release.attackers]
    lines = [
        f"angribere: {'; '.join(attackers)}",
        f"{release.programs} lineære programmer, {release.failures} fejl, {release.unchecked} uden bevis"
        + (f", {release.seconds:.1f} s".replace(".", ",") if release.seconds else ""),
        f"politik sha256 {release.policy_digest}",
    ]
    for line in lines:
        page.print(textwrap.fill(line, page.width, subsequent_indent="  "), highlight=False)
    page.print()
