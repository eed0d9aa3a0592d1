"""The audit log as its reader sees it: tree, checkpoints, entries, exports, and their proof without a service."""
