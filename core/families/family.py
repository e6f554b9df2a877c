"""The shape of a model family's facts: which tensors it has, which hyperparameters, and what is refused.

A family is a row of data (see core.families.llama); how rows are used is in core.families.conversion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

REQUIRED = object()


@dataclass(frozen=True, slots=True)
class TensorRule:
    """One tensor's names in both worlds; `{}` stands for the layer number.

    shape: names of Dimensions attributes. heads: the Dimensions attribute that says in how many heads the rows are to
    be interleaved for llama.cpp's rotary embedding, '' where rows stay in order.
    """

    source: str
    target: str
    shape: tuple[str, ...]
    heads: str = ""
    optional: bool = False

    @property
    def per_layer(self) -> bool:
        """Whether every layer has one."""
        return "{}" in self.source


@dataclass(frozen=True, slots=True)
class KeyRule:
    """One hyperparameter: config.json's key, GGUF's key after `<architecture>.`, its type, and its default."""

    source: str
    target: str
    type: str
    default: Any = REQUIRED


@dataclass(frozen=True, slots=True)
class Refusal:
    """A config.json key and the values that can be converted; anything else is refused by name."""

    key: str
    allowed: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Dimensions:
    """The sizes that tensor shapes are made of."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int

    @property
    def query(self) -> int:
        """Rows of the query projection."""
        return self.heads * self.head

    @property
    def key_value(self) -> int:
        """Rows of the key and of the value projection."""
        return self.kv_heads * self.head


@dataclass(frozen=True, slots=True)
class Family:
    """One row of the table of families. architectures: Hugging Face class names; name: GGUF's architecture."""

    name: str
    label: str
    architectures: tuple[str, ...]
    tensors: tuple[TensorRule, ...]
    keys: tuple[KeyRule, ...]
    refusals: tuple[Refusal, ...]
    rope_types: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    default_pre: str = "default"
    warnings: tuple[Callable[[dict[str, Any]], str], ...] = field(default=())
