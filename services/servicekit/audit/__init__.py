"""The audit log of a service: who did what to which domain or table, how much, with what outcome.

An RFC 9162 Merkle tree over canonical entries. What is hashed, how it is proven and how it is
verified without a service stands in `kinlink.audit`; here it is kept, signed and served.
"""

from servicekit.audit.entry import AuditEntry, describe
from servicekit.audit.log import AuditLog

__all__ = ["AuditEntry", "AuditLog", "describe"]
