"""The files of one output: a single one, or parts as llama.cpp's gguf-split makes them.

Every part is a GGUF file with `split.no`, `split.count` and `split.tensors.count`; the first has all other metadata
too. The parts are called NAME-00001-of-00003.gguf; programs open the first and find the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.formats.gguf_layout import KeyValue, padded
from core.formats.gguf_writer import Layout, TensorSlot, encode_key_value, layout

INFO_BYTES = 96  # of a tensor in the header, its name of at most 63 bytes included


@dataclass(frozen=True, slots=True)
class Part:
    """One file: its metadata, and where everything will be in it."""

    metadata: tuple[KeyValue, ...]
    layout: Layout


def whole(slots: Sequence[TensorSlot], metadata: tuple[KeyValue, ...]) -> tuple[Part, ...]:
    """Everything in one file."""
    return (Part(metadata, layout(metadata, slots)),)


def divided(slots: Sequence[TensorSlot], metadata: tuple[KeyValue, ...], part_of: Sequence[int]) -> tuple[Part, ...]:
    """One file for each number in part_of (0, 1, 2, …, one per slot), in one file where there is only one number."""
    count = len(set(part_of))
    if count <= 1:
        return whole(slots, metadata)
    parts = []
    for number in range(count):
        own = [slot for slot, part in zip(slots, part_of, strict=True) if part == number]
        said = (*(metadata if number == 0 else _alignment(metadata)), *_split_keys(number, count, len(slots)))
        parts.append(Part(said, layout(said, own)))
    return tuple(parts)


def by_size(slots: Sequence[TensorSlot], metadata: Sequence[KeyValue], most: int) -> list[int]:
    """The part of every slot such that no file is larger than `most` bytes; a larger tensor has a file for itself."""
    numbers: list[int] = []
    # What the header takes beside the tensors' entries, the three keys about splitting included.
    room = most - sum(len(encode_key_value(entry)) for entry in metadata) - 256
    part = 0
    for slot in slots:
        needed = padded(slot.bytes, 64) + INFO_BYTES
        if numbers and numbers[-1] == part and needed > room:
            part, room = part + 1, most - 256
        room -= needed
        numbers.append(part)
    return numbers


def path_of(output: Path, number: int, count: int) -> Path:
    """The name of a part; the output's own name where it is the only one."""
    return output if count == 1 else output.with_name(f"{output.stem}-{number + 1:05}-of-{count:05}.gguf")


def _alignment(metadata: Sequence[KeyValue]) -> tuple[KeyValue, ...]:
    return tuple(entry for entry in metadata if entry.key == "general.alignment")


def _split_keys(number: int, count: int, n_tensors: int) -> tuple[KeyValue, ...]:
    return (
        KeyValue("split.no", "UINT16", number),
        KeyValue("split.count", "UINT16", count),
        KeyValue("split.tensors.count", "INT32", n_tensors),
    )
