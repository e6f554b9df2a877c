"""Everything that knows Qt, plus cli.py, which must not."""
