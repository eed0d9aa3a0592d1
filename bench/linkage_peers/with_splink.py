"""Splink 5 in clear text, in an environment of its own: pairs of a file with itself, as CSV on standard output.

A plain model as its documentation builds one: Jaro-Winkler on names, Levenshtein on digits, term frequencies of
names; u from random pairs, m by EM on two blocks.

    python with_splink.py records.csv PROBABILITY
"""

import csv
import json
import resource
import sys
import time

import splink.comparison_library as cl
from splink import Linker, SettingsCreator, block_on
from splink.backends.duckdb import DuckDBAPI


def main() -> None:
    """Link, print the pairs, and the cost on standard error."""
    path, threshold = sys.argv[1], float(sys.argv[2])
    start = time.monotonic()
    settings = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name="record",
        comparisons=[
            cl.JaroWinklerAtThresholds("given_name", [0.92, 0.8]).configure(term_frequency_adjustments=True),
            cl.JaroWinklerAtThresholds("surname", [0.92, 0.8]).configure(term_frequency_adjustments=True),
            cl.LevenshteinAtThresholds("date_of_birth", [1, 2]),
            cl.LevenshteinAtThresholds("street_number", [1]),
            cl.JaroWinklerAtThresholds("address_1", [0.92, 0.8]).configure(term_frequency_adjustments=True),
            cl.JaroWinklerAtThresholds("suburb", [0.92, 0.8]).configure(term_frequency_adjustments=True),
            cl.LevenshteinAtThresholds("postcode", [1, 2]),
        ],
        blocking_rules_to_generate_predictions=[
            block_on("date_of_birth"),
            block_on("given_name", "surname"),
            block_on("given_name", "postcode"),
            block_on("surname", "postcode"),
            block_on("address_1", "street_number"),
            block_on("suburb", "street_number"),
            block_on("suburb", "given_name"),
            block_on("suburb", "surname"),
            block_on("address_1"),
        ],
        max_iterations=50,
    )
    api = DuckDBAPI()
    linker = Linker(api.register(api.duckdb_con.read_csv(path, all_varchar=True)), settings, log_level=40)
    same = ["l.date_of_birth = r.date_of_birth", "l.given_name = r.given_name and l.surname = r.surname"]
    linker.training.estimate_probability_two_random_records_match(same, recall=0.7)
    linker.training.estimate_u_using_random_sampling(max_pairs=2_000_000, seed=1)
    linker.training.estimate_parameters_using_expectation_maximisation(block_on("date_of_birth"))
    linker.training.estimate_parameters_using_expectation_maximisation(block_on("given_name", "surname"))
    pairs = linker.inference.predict(threshold_match_probability=threshold).as_duckdbpyrelation()
    found = pairs.select("record_l, record_r").fetchall()
    cost = {
        "seconds": round(time.monotonic() - start, 2),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    csv.writer(sys.stdout).writerows(found)
    print(json.dumps(cost), file=sys.stderr)


if __name__ == "__main__":
    main()
