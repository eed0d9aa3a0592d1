"""How fast, against what is possible, both sides in one run: ratios, not absolute times."""
