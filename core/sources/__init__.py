"""Opens models of any kind that can be read: `open_source(path)` is the one door."""

from __future__ import annotations

import os
from pathlib import Path

from core.errors import NotAModel, SourceNotFound
from core.formats.gguf_layout import KeyValue
from core.sources.base import Hyper, Source, SourceTensor
from core.sources.gguf_source import GGUFSource

__all__ = ["Hyper", "KeyValue", "Source", "SourceTensor", "open_source"]


def open_source(path: str | os.PathLike[str]) -> Source:
    """Opens a .gguf file (any part of a split one), a Hugging Face folder or a .safetensors file in one.

    Only headers are read. Raises SourceNotFound, NotAModel, MissingParts, UnknownArchitecture, and what the readers
    raise for damaged files.
    """
    place = Path(path)
    if not place.exists():
        raise SourceNotFound(str(path))
    if place.is_file():
        return GGUFSource(place)
    raise NotAModel(str(path), "it is neither a file nor a folder")
