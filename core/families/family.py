"""The shape of a model family's facts: which tensors it has, which hyperparameters, and what is refused.

A family is a row of data (see core.families.llama); how rows are used is in core.families.conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

REQUIRED = object()
OPTIONAL = object()
Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TensorRule:
    """One tensor's names in both worlds; `{0}` stands for the layer's number, `{1}` for the expert's.

    shape: names of Dimensions attributes, as GGUF has it; with `{1}` the source lacks the first one, and the experts
    are stacked. heads: the Dimensions attribute that says in how many heads the rows are to be interleaved for
    llama.cpp's rotary embedding, '' where rows stay in order. part: (number, count) where the source holds so many
    tensors of this shape, one after another along its rows, per expert. transposed: the source has columns as rows.
    shift: is added to every weight. float32: is kept as F32, whatever the source has. ternary: the model rounds it to
    -γ, 0 and γ when it runs. Rules of the same target are alternatives, of which a checkpoint has one.
    """

    source: str
    target: str
    shape: tuple[str, ...]
    heads: str = ""
    optional: bool = False
    part: tuple[int, int] = (0, 1)
    transposed: bool = False
    shift: float = 0.0
    float32: bool = False
    ternary: bool = False

    @property
    def per_layer(self) -> bool:
        """Whether every layer has one."""
        return "{0}" in self.source

    @property
    def per_expert(self) -> bool:
        """Whether the source has one tensor for each expert."""
        return "{1}" in self.source


@dataclass(frozen=True, slots=True)
class KeyRule:
    """One hyperparameter: config.json's key, GGUF's key after `<architecture>.`, its type, and its default.

    A default OPTIONAL leaves the key out where config.json has no value. zero: whether 0 is a value.
    """

    source: str
    target: str
    type: str
    default: Any = REQUIRED
    zero: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A config.json key and the values that can be converted; anything else is refused by name."""

    key: str
    allowed: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Dimensions:
    """The sizes that tensor shapes are made of; 0 for what a family has not."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    positions: int = 0
    experts: int = 0
    expert_forward: int = 0
    shared_forward: int = 0

    @property
    def one(self) -> int:
        """A single row."""
        return 1

    @property
    def query(self) -> int:
        """Rows of the query projection."""
        return self.heads * self.head

    @property
    def key_value(self) -> int:
        """Rows of the key and of the value projection."""
        return self.kv_heads * self.head

    @property
    def query_key_value(self) -> int:
        """Rows of the three projections in one tensor."""
        return self.query + 2 * self.key_value

    @property
    def gate_up(self) -> int:
        """Rows of the two projections into the feed-forward network in one tensor."""
        return 2 * self.feed_forward


@dataclass(frozen=True, slots=True)
class Family:
    """One row of the table of families. architectures: Hugging Face class names; name: GGUF's architecture.

    aliases: other names of config.json's keys, by the name that is used here. defaults: what transformers assumes
    where config.json is silent. derived: values computed from config.json's, by the name that `keys` uses. sizes:
    what config.json must give beside the usual sizes. checks: say what of a configuration llama.cpp would ignore, or
    ''. nested: the object of config.json that describes the language model of a larger one. renames: (pattern,
    replacement) for tensor names. space_prefix: whether a SentencePiece tokenizer puts a space before the text, None
    where its own file decides. plain_forward: the feed-forward width in widths where config.json gives none. token_ids:
    special tokens whose numbers no file gives, by their GGUF keys.
    """

    name: str
    label: str
    architectures: tuple[str, ...]
    tensors: tuple[TensorRule, ...]
    keys: tuple[KeyRule, ...]
    refusals: tuple[Refusal, ...]
    rope_types: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    default_pre: str = "default"
    warnings: tuple[Callable[[Values], str], ...] = ()
    checks: tuple[Callable[[Values], str], ...] = ()
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    derived: Mapping[str, Callable[[Values], Any]] = field(default_factory=dict)
    sizes: tuple[str, ...] = ()
    nested: str = ""
    renames: tuple[tuple[str, str], ...] = ()
    space_prefix: bool | None = None
    plain_forward: int = 0
    token_ids: tuple[tuple[str, int], ...] = ()
