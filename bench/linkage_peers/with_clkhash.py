"""clkhash and anonlink, in an environment of their own: pairs of a file with itself, as CSV on standard output.

One filter of 1024 bits a record, bigrams of texts and digits by place, 100 bits a field; Dice at a fixed threshold.

    python with_clkhash.py records.csv DICE
"""

import csv
import io
import json
import resource
import sys
import time
from pathlib import Path

import anonlink
from clkhash import clk, schema

TEXTS = ("given_name", "surname", "address_1", "suburb")
DIGITS = ("date_of_birth", "street_number", "postcode")


def main() -> None:
    """Link, print the pairs, and the cost on standard error."""
    path, threshold = sys.argv[1], float(sys.argv[2])
    with Path(path).open(newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    start = time.monotonic()
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerows([record[name] for name in (*TEXTS, *DIGITS)] for record in records)
    table.seek(0)
    filters = clk.generate_clk_from_csv(table, "a secret of the bench", _schema(), header=False, progress_bar=False)
    found = anonlink.candidate_generation.find_candidate_pairs(
        [filters, filters], anonlink.similarities.dice_coefficient, threshold
    )
    _, _, (left, right) = found
    pairs = [(records[i]["record"], records[j]["record"]) for i, j in zip(left, right, strict=True) if i < j]
    cost = {
        "seconds": round(time.monotonic() - start, 2),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    csv.writer(sys.stdout).writerows(pairs)
    print(json.dumps(cost), file=sys.stderr)


def _schema() -> schema.Schema:
    return schema.from_json_dict(
        {
            "version": 3,
            "clkConfig": {
                "l": 1024,
                "kdf": {"type": "HKDF", "hash": "SHA256", "info": "", "salt": "", "keySize": 64},
            },
            "features": [_feature(name, 2, positional=False) for name in TEXTS]
            + [_feature(name, 1, positional=True) for name in DIGITS],
        }
    )


def _feature(name: str, gram: int, *, positional: bool) -> dict:
    return {
        "identifier": name,
        "format": {"type": "string", "encoding": "utf-8"},
        "hashing": {
            "comparison": {"type": "ngram", "n": gram, "positional": positional},
            "strategy": {"bitsPerFeature": 100},
            "hash": {"type": "doubleHash"},
        },
    }


if __name__ == "__main__":
    main()
