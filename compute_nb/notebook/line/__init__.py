"""The line of the magic, read: options, subcommands, and the manual on them."""
