"""The pseudonymizer: holds keys, and no data."""
