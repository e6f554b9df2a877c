"""What a chat must know of a model file before it is loaded: that it is one, its template, its trained context."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.errors import ChatNeedsGguf
from core.formats.gguf_reader import read_header

TEMPLATE_KEY = "tokenizer.chat_template"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One .gguf file. template: its chat template, '' where it has none. trained_context: tokens, None if unknown."""

    path: Path
    template: str
    trained_context: int | None

    @property
    def wants_empty_system(self) -> bool:
        """Whether an empty system message keeps the template from adding a system prompt of its own.

        Some templates put words of their maker first where a conversation has no system message, which the user then
        neither sees nor can remove. A template that refuses system messages names them beside `raise_exception`.
        """
        refuses = "raise_exception" in self.template and "ystem role not supported" in self.template
        return "system" in self.template and not refuses


def read_model_file(path: Path) -> ModelFile:
    """Reads a model's header. Raises ChatNeedsGguf for other model forms, and what read_header raises."""
    if path.is_dir() or path.suffix == ".safetensors":
        raise ChatNeedsGguf(str(path))
    values = {entry.key: entry.value for entry in read_header(path).metadata}
    trained = values.get(f"{values.get('general.architecture')}.context_length")
    return ModelFile(path, str(values.get(TEMPLATE_KEY, "")), int(trained) if trained else None)
