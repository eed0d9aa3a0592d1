"""Encodings: how a source describes persons without a CPR number, so that a linker without a key can compare them."""
