"""How a model is called, as its path tells."""

from __future__ import annotations

from pathlib import Path


def model_title(source: str) -> str:
    """A model's name as its path tells it: file name without .gguf, or the folder's name."""
    path = Path(source)
    return path.stem if path.suffix.lower() in (".gguf", ".safetensors") else path.name
