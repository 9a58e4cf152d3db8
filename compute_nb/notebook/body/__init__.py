"""What the body of a cell reads, binds and imports, found in its text."""
