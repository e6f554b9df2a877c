"""How models are called, as their paths tell."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path


def model_title(source: str) -> str:
    """A model's name as its path tells it: file name without .gguf, or the folder's name."""
    path = Path(source)
    return path.stem if path.suffix.lower() in (".gguf", ".safetensors") else path.name


def short_titles(titles: Sequence[str]) -> list[str]:
    """Titles without what all begin with, up to a mark between words; one alone, and equal ones, stay whole.

    ['a-135M-Q4_0', 'a-135M-Q8_0'] -> ['Q4_0', 'Q8_0'].
    """
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*titles, strict=False))
    shared = "".join(letters[0] for letters in alike) if len(set(titles)) > 1 else ""
    begin = max((shared.rfind(mark) + 1 for mark in "-. "), default=0)
    return [title[begin:] or title for title in titles]
