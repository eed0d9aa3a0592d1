"""Put what `make demo` printed last into README.md: run it after the demo, as `python tools/readme_output.py`.

Only what is the same at every scale is shown, the target group's figures, so that the
acceptance tests can hold README.md against the municipality that they run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = "services_by_departments"
LEFT_OUT = ("others: ", "near-miss families looked up", "øre", "figures hold")
BEGIN, END = "<!-- demo-output -->\n", "<!-- /demo-output -->\n"


def main() -> None:
    """Write the block of README.md."""
    readme, out = ROOT / "README.md", ROOT / "demo-out"
    table, comparison = (out / f"{name}.txt" for name in (TABLE, "comparison"))
    text = filled(readme.read_text("utf-8"), table.read_text("utf-8"), comparison.read_text("utf-8"))
    readme.write_text(text, encoding="utf-8")


def filled(text: str, table: str, comparison: str) -> str:
    """Return README's text with its block made anew from the table and the comparison as the demo prints them."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    shown = "\n".join(_lines(table, comparison)).rstrip()
    return f"{before}{BEGIN}\n```text\n{shown}\n```\n\n{END}{after}"


def _lines(table: str, comparison: str) -> Iterator[str]:
    yield from table.partition("\n- ")[0].strip().splitlines()
    yield ""
    for line in comparison.splitlines():
        if not any(words in line for words in LEFT_OUT):
            yield line


if __name__ == "__main__":
    main()
