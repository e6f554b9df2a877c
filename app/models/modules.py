"""What a tensor's name says: its layer, its module and the group it is counted in. Rows, first match wins.

Names are GGUF's (`blk.7.ffn_down.weight`, gguf-py constants.py), or those of a checkpoint in Hugging Face layout
(`model.layers.7.mlp.down_proj.weight`), where the last word but the kind of tensor tells the module.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeVar

from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication


class HasName(Protocol):
    """A tensor in a plan or a result."""

    @property
    def name(self) -> str:
        """The tensor's name."""


Named = TypeVar("Named", bound=HasName)
_IN_LAYER = re.compile(r"^(?:blk|(?:\w+\.)*(?:layers|h|blocks))\.(\d+)\.(.+?)(?:\.weight|(\.bias))?$")
_SUFFIX = re.compile(r"\.weight$")

EMBEDDING, ATTENTION, FEED_FORWARD, OUTPUT, OTHER = "embedding", "attention", "feed-forward", "output", "other"

GROUPS: dict[str, str] = {
    EMBEDDING: QT_TRANSLATE_NOOP("Modules", "Embedding"),
    ATTENTION: QT_TRANSLATE_NOOP("Modules", "Attention"),
    FEED_FORWARD: QT_TRANSLATE_NOOP("Modules", "Feed-forward"),
    OUTPUT: QT_TRANSLATE_NOOP("Modules", "Output"),
    OTHER: QT_TRANSLATE_NOOP("Modules", "Norms and other"),
}


@dataclass(frozen=True, slots=True)
class Module:
    """One kind of tensor. patterns: shell wildcards on the module's name; series: which plot series it belongs to."""

    patterns: tuple[str, ...]
    label: str
    group: str
    series: int


SERIES_REST = 7
MODULES: tuple[Module, ...] = (
    Module(("token_embd", "*embed_tokens", "*wte"), QT_TRANSLATE_NOOP("Modules", "Embedding"), EMBEDDING, SERIES_REST),
    Module(("*norm*", "ln_*"), QT_TRANSLATE_NOOP("Modules", "Norm"), OTHER, SERIES_REST),
    Module(("*bias",), QT_TRANSLATE_NOOP("Modules", "Bias"), OTHER, SERIES_REST),
    Module(("attn_q*", "*q_proj", "*c_attn", "*qkv_proj"), QT_TRANSLATE_NOOP("Modules", "Query"), ATTENTION, 0),
    Module(("attn_k*", "*k_proj"), QT_TRANSLATE_NOOP("Modules", "Key"), ATTENTION, 1),
    Module(("attn_v*", "*v_proj"), QT_TRANSLATE_NOOP("Modules", "Value"), ATTENTION, 2),
    Module(("attn_output", "*o_proj", "*attn.c_proj"), QT_TRANSLATE_NOOP("Modules", "Attention output"), ATTENTION, 3),
    Module(("attn_*", "*attn.*"), QT_TRANSLATE_NOOP("Modules", "Attention"), ATTENTION, 3),
    Module(("ffn_gate*", "*gate_proj", "mlp.gate"), QT_TRANSLATE_NOOP("Modules", "Gate"), FEED_FORWARD, 4),
    Module(("ffn_up*", "*up_proj", "*c_fc"), QT_TRANSLATE_NOOP("Modules", "Up"), FEED_FORWARD, 5),
    Module(("ffn_down*", "*down_proj", "*mlp.c_proj"), QT_TRANSLATE_NOOP("Modules", "Down"), FEED_FORWARD, 6),
    Module(("ffn_*", "mlp.*"), QT_TRANSLATE_NOOP("Modules", "Feed-forward"), FEED_FORWARD, 5),
    Module(("output", "lm_head"), QT_TRANSLATE_NOOP("Modules", "Output"), OUTPUT, SERIES_REST),
    Module(("*",), QT_TRANSLATE_NOOP("Modules", "Other"), OTHER, SERIES_REST),
)
SERIES_LABELS: tuple[str, ...] = (
    QT_TRANSLATE_NOOP("Modules", "Query"),
    QT_TRANSLATE_NOOP("Modules", "Key"),
    QT_TRANSLATE_NOOP("Modules", "Value"),
    QT_TRANSLATE_NOOP("Modules", "Attention output"),
    QT_TRANSLATE_NOOP("Modules", "Gate"),
    QT_TRANSLATE_NOOP("Modules", "Up"),
    QT_TRANSLATE_NOOP("Modules", "Down"),
    QT_TRANSLATE_NOOP("Modules", "Other"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor sits. layer is None outside the layers; name is the module's name (`ffn_down`)."""

    layer: int | None
    name: str
    module: Module
    rank: int

    @property
    def order(self) -> tuple[int, int, str]:
        """Sort key of the model's own order: embedding, the layers, what comes after them."""
        ends = -1 if self.module.group == EMBEDDING else 1_000_000
        return (ends if self.layer is None else self.layer, self.rank, self.name)


@lru_cache(maxsize=65536)
def place(tensor: str) -> Place:
    """The place of the tensor of this name; never fails, an unknown name is in the group 'other'."""
    found = _IN_LAYER.match(tensor)
    name = found[2] + (found[3] or "") if found else _SUFFIX.sub("", tensor)
    rank = next(i for i, row in enumerate(MODULES) if any(fnmatch.fnmatchcase(name, each) for each in row.patterns))
    return Place(int(found[1]) if found else None, name, MODULES[rank], rank)


def in_layer_order(tensors: Iterable[Named]) -> list[Named]:
    """Values that have a tensor's name, in the model's own order: embedding, layer by layer, what comes after."""
    return sorted(tensors, key=lambda tensor: place(tensor.name).order)


def order_text(tensor: HasName) -> str:
    """The model's own order as a text that sorts like it, for views that compare texts."""
    layer, rank, name = place(tensor.name).order
    return f"{layer + 1:08d}.{rank:02d}.{name}"


def word(label: str) -> str:
    """A label of this file in the user's language."""
    return QCoreApplication.translate("Modules", label)
