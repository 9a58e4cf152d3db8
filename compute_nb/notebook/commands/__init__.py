"""The subcommands of `%compute` on a line, and Tab."""
