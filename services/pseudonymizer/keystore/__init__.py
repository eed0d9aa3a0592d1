"""Keys at rest: the sealed store, and the providers of key-encryption keys."""
