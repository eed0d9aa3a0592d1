"""The `kinlink` command: one file a command group, each with `register(app)`."""
