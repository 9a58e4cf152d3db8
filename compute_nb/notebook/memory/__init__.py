"""What a notebook remembers: its earlier runs, found and bound again by a new kernel."""
