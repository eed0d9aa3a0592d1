"""Write the tables of tests/spec into the pages of docs/spec, below what is written there by hand.

    python tools/gen_spec.py [--check]

With --check nothing is written, and a stale page is an error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = {"families": "families.md", "disclosure": "disclosure-control.md", "linkage": "encoded-linkage.md"}
MARK = "<!-- Below: made by tools/gen_spec.py from tests/spec/{}. Change the tables there. -->"


def page(folder: str, text: str) -> str:
    """Return a page: what is written by hand, the mark, and the files of the folder in order of name.

    Raises:
        SystemExit: the page has no mark.
    """
    mark = MARK.format(folder)
    by_hand, found, _ = text.partition(mark)
    if not found:
        raise SystemExit(f"docs/spec/{PAGES[folder]}: needs the line {mark}")
    files = sorted((ROOT / "tests" / "spec" / folder).glob("*.md"))
    return "\n\n".join([by_hand.strip(), mark, *(file.read_text(encoding="utf-8").strip() for file in files)]) + "\n"


def main() -> int:
    """Write the pages, or say which are stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is stale")
    check = parser.parse_args().check
    stale = False
    for folder, name in PAGES.items():
        path = ROOT / "docs" / "spec" / name
        text = path.read_text(encoding="utf-8")
        new = page(folder, text)
        if new != text and check:
            stale = True
            print(f"docs/spec/{name} is stale: run make fix", file=sys.stderr)
        elif new != text:
            path.write_text(new, encoding="utf-8")
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
