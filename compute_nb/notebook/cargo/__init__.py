"""What travels with a cell: the values, sources and modules that it needs, as one function."""
