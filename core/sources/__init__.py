"""Opens models of any kind that can be read: `open_source(path)` is the one door."""

from __future__ import annotations

import os
from pathlib import Path

from core.errors import NotAModel, SourceNotFound
from core.formats.gguf_layout import KeyValue
from core.sources.base import Hyper, Source, SourceTensor
from core.sources.gguf_source import GGUFSource
from core.sources.hf_source import HFSource

__all__ = ["Hyper", "KeyValue", "Source", "SourceTensor", "open_source"]


def open_source(path: str | os.PathLike[str]) -> Source:
    """Opens a .gguf file (any part of a split one), a Hugging Face folder or a .safetensors file in one.

    Only headers are read. Raises SourceNotFound, NotAModel, MissingParts, UnknownArchitecture, and what the readers
    raise for damaged files.
    """
    place = Path(path)
    if not os.path.exists(place):  # unlike Path.exists, this answers for names that no system accepts, too
        raise SourceNotFound(str(path))
    if place.is_file() and place.suffix != ".safetensors":
        return GGUFSource(place)
    if not place.is_file() and not place.is_dir():
        raise NotAModel(str(path), "it is neither a file nor a folder")
    return HFSource(_model_folder(place))


def _model_folder(place: Path) -> Path:
    """The folder itself, or that of a .safetensors file, which is nothing without its config.json."""
    if place.is_dir():
        return place
    if not (place.parent / "config.json").is_file():
        raise NotAModel(str(place), "config.json is missing beside it", "Choose the model's whole folder")
    return place.parent
