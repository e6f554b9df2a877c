"""Numbers and bits: block formats, their codecs and searches; knows nothing of files or models."""
