"""What is particular to a model family, as rows of data."""
