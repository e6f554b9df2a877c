"""Numba: the same files and functions as kernels.reference, compiled and parallel."""
