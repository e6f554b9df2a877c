"""Torch: the same files and functions as kernels.reference, for any torch device."""
