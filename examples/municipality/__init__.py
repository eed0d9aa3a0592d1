"""The synthetic municipality: a seeded generator of source extracts, and the truth behind them."""
