"""The demo's act about postings without a CPR number: what is missing without their payers, and what linking brings.

Four sources deliver their postings once more, now as they were before somebody looked the numbers up: some rows name
their payer in words only. What the target group cost is too low then. The register and the sources deliver encodings,
and the next run links most of those rows. No name leaves a source. What is compared lies behind the gate, where no
consumer gets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from examples.deliveries import ENCODINGS, WITH_PAYERS, Delivery
from examples.exact import Exact
from examples.payers_plot import Department, drawn
from examples.payers_truth import Judgement, departments, judged, nearer
from examples.rotation import OPERATOR
from examples.stack import Stack
from kinlink.client_config import ClientConfig
from kinlink.linkage_client import Interval, LinkageClient, Run

Say = Callable[[str], None]
_KR = 100
_SHOWN, _WIDTH = 3, 99
_MEANING = """By CPR, encoded: amounts linked, of rows with and without a number. Precision and recall: of
amounts, as the model expects them without the truth, with the 95 % interval; recall is of payers
in the register.
"""


def payers_act(
    stack: Stack,
    municipality: Path,
    link: Sequence[str],
    look: Callable[[], Exact],
    deliver: Callable[[Delivery], None],
    out: Path,
    say: Say,
) -> bool:
    """Deliver, run, deliver the encodings, run; say what came of it, and return whether linking came nearer the truth.

    `link`: arguments of a run; `look` returns the exact frames of the newest snapshot; the plot goes to `out`.
    """
    for delivery in WITH_PAYERS:
        deliver(delivery)
    stack.run(OPERATOR, *link)
    before = look()
    say("Linked by CPR number alone. Now the register's names and the payers', each encoded where it is:")
    for delivery in ENCODINGS:
        deliver(delivery)
    stack.run(OPERATOR, *link)
    after = look()
    with ClientConfig.load(stack.client(OPERATOR)).linker_channel() as channel:
        run = LinkageClient(channel).get("")
    say("\nLinked again. What the run expects of its links (kinlink link status), and what is true:\n")
    found = judged(stack, after, municipality)
    say(quality(run, found))
    say(_all_records(found[""]))
    for note in run.linkage_notes:
        say(f"note: {note}")
    say(_in_review(stack))
    rows = departments(municipality, before, after)
    say(as_text(rows))
    plot = out / "payers.svg"
    plot.write_text(drawn(rows), encoding="utf-8")
    say(f"Drawn in {plot.name}")
    return nearer(rows)


def as_text(rows: Sequence[Department]) -> str:
    """Return the departments as a table."""
    whole = Department("all", *(sum(getattr(row, name) for row in rows) for name in ("truth", "before", "after")))
    lines = [f"{'target group, kr.':<18}{'truth':>13}{'by CPR number':>17}{'':>9}{'with encodings':>17}{'':>9}"]
    for row in (*rows, whole):
        truth, before, after = (
            f"{amount / _KR:,.0f}".replace(",", ".") for amount in (row.truth, row.before, row.after)
        )
        was, now = (f"{row.share(amount):.2%}" for amount in (row.before, row.after))
        lines.append(f"{row.name:<18}{truth:>13}{before:>17}{was:>9}{after:>17}{now:>9}")
    return "\n".join([*lines, ""])


def quality(run: Run, found: Mapping[str, Judgement]) -> str:
    """Return a table by source: coverage by method, and links by encodings as the run expects them and in truth."""
    covered = {(row.source, row.method): row.share_amount for row in run.coverage}
    head = (
        f"{'':<8}{'by CPR':>6}{'encoded':>9}{'records':>8}{'linked':>7}{'review':>7}"
        f"{'precision':>20}{'true':>7}{'recall':>20}{'true':>7}"
    )
    lines = [head]
    for each in run.quality:
        if each.month or each.source not in found:
            continue
        exact, encoded = (_percent(covered.get((each.source, method))) for method in ("exact", "encoded"))
        true = found[each.source]
        lines.append(
            f"{each.source:<8}{exact:>6}{encoded:>9}{each.records:>8,}{each.linked:>7,}{each.in_review:>7,}"
            f"{_interval(each.precision):>20}{_percent(true.precision):>7}"
            f"{_interval(each.recall):>20}{_percent(true.recall):>7}"
        )
    return "\n".join([*lines, _MEANING])


def _all_records(found: Judgement) -> str:
    return (
        f"In truth: {found.linked:,} of {found.records:,} records are linked, {_percent(found.precision)} of their"
        f" kroner to the right person.\nOf the kroner of payers in the register {_percent(found.recall)} are linked"
        f" rightly; {_percent(found.reachable)} where at least\ntwo of name, birth date and address are told."
        f" {found.outsiders:,} records are of others; {found.outsiders_linked} of them are linked.\n"
    )


def _in_review(stack: Stack) -> str:
    """Show what a source gets back: its own record numbers, what they lack, and what would help."""
    source = WITH_PAYERS[0].source
    said = stack.run(f"source/{source}", "link", "review").stdout.splitlines()
    lines = [line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…" for line in said[: 1 + _SHOWN]]
    return "\n".join([f"$ kinlink link review   (as {source}: {len(said) - 1} records)", *lines, "…\n"])


def _interval(found: Interval | None) -> str:
    return f"{found.estimate:.1%} [{100 * found.low:.1f}-{100 * found.high:.1f}]" if found else "-"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
