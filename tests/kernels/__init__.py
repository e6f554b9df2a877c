"""Tests of the number kernels, looping over the table of codecs."""
