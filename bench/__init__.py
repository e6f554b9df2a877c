"""Benchmarks: each file prints its figures beside their targets; `make bench` runs them all."""
