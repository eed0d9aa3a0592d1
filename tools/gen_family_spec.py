"""Write docs/spec/families.md from the tables of tests/spec/families.

    python tools/gen_family_spec.py [--check]

With --check nothing is written, and a stale page is an error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "tests" / "spec" / "families"
PAGE = ROOT / "docs" / "spec" / "families.md"

INTRODUCTION = """\
# Households and families

<!-- Made by tools/gen_family_spec.py from tests/spec/families. Change the tables there. -->

Who belongs to which household and family on a reference date, by Statistics Denmark's definitions (C_TYPE,
FAMILIE_TYPE). Each table below is a small town, and a test: the linker must form exactly these families. The reference
date is always 1 January 2015, a first of month: on other days ages would not be exact, since no birth date is stored.

Reading a table: a letter is a person. Parents and spouse are those that the register names; a letter that has no row is
somebody who never lived here. *civil* is CPR's code (U unmarried, G married, F divorced, E widowed, P registered
partner). `elsewhere` is outside the municipality, `-` no fixed address. `AB+C` is a family of the adults A and B and
the child C.

| type | family | Danish |
|---|---|---|
| 1, 2 | single without, with children | enlig |
| 11, 12 | married couple without, with children | ægtepar |
| 21, 22 | registered partnership without, with children | registreret partnerskab |
| 31, 32 | unmarried with a common child; without, with children at home | samlevende |
| 41, 42 | man and woman without a common child; without, with children | samboende |
| 53 | child under 18 who lives with no parent | ikke-hjemmeboende barn |

The **C-family** (1980-2007) is the default: a child is under 18, unmarried, in no couple and without a child of its own
at the address. In the **E-family** (2008-) a child is under 25, has never been married, is in no couple, and has no
child in the register at all. Same-sex marriages are counted as 11 and 12 in both.
"""


def page() -> str:
    """Return the page: introduction, then the files in order of name."""
    parts = [file.read_text(encoding="utf-8").strip() for file in sorted(SOURCE.glob("*.md"))]
    return "\n\n".join([INTRODUCTION.strip(), *parts]) + "\n"


def main() -> int:
    """Write the page, or say that it is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is stale")
    text = page()
    if parser.parse_args().check:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
            return 0
        print(f"{PAGE.relative_to(ROOT)} is stale: run make fix", file=sys.stderr)
        return 1
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
