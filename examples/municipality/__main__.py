"""Command line: `python -m examples.municipality --scale town --out DIR`."""

from __future__ import annotations

import argparse
from pathlib import Path

from examples.municipality.build import generate
from examples.municipality.calibration import SEED


def main() -> None:
    """Generate a municipality and print the digest of what was written."""
    parser = argparse.ArgumentParser(prog="python -m examples.municipality", description=main.__doc__)
    parser.add_argument("--scale", choices=["tiny", "town", "copenhagen"], default="town")
    parser.add_argument("--childless-to", type=int, metavar="PERSONS", help="fill the city to this many persons")
    parser.add_argument("--payers", action="store_true", help="also names, and extracts with payers who have no number")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, required=True, help="folder for extracts/ and truth/")
    arguments = parser.parse_args()
    digest = generate(
        arguments.scale,
        arguments.out,
        residents=arguments.childless_to,
        seed=arguments.seed,
        payers_too=arguments.payers,
    )
    print(f"{arguments.out}: sha256 {digest}")


if __name__ == "__main__":
    main()
