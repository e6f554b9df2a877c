"""Tests of Bitwright; the tree mirrors the program."""
