"""Delivering an extract: mapping -> read -> validate -> pseudonymise -> upload, one file each."""
