"""Quantization methods, one algorithm a file: arrays in, arrays out; no files, models, printing or windows inside."""
