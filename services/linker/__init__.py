"""The linker: holds pseudonymised data, and no keys."""

import os

# gRPC's core writes what strangers send (a server name) to standard error, past the redaction of logs.
# It reads this when it is imported, so it is said here, before anything imports it.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
