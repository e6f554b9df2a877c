"""Writes a safetensors file from tensors that were announced before: header first, then their data in that order.

Source of the format: README of huggingface/safetensors.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from core.formats.gguf_layout import U64
from core.formats.safetensors_reader import DTYPE_BYTES

ALIGNMENT = 8
METADATA = {"format": "pt"}  # transformers refuses files without it


class Output(Protocol):
    """What is written to."""

    def write(self, data: Any, /) -> object:
        """Appends a bytes-like object."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One tensor to be written; dtype as safetensors names it."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size of its data."""
        return math.prod(self.shape) * DTYPE_BYTES[self.dtype]


def header_bytes(slots: Sequence[Slot]) -> bytes:
    """Everything before the data, padded so that the data begin at a multiple of 8."""
    entries: dict[str, Any] = {"__metadata__": METADATA}
    end = 0
    for slot in slots:
        entries[slot.name] = {"dtype": slot.dtype, "shape": list(slot.shape), "data_offsets": [end, end + slot.bytes]}
        end += slot.bytes
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return U64.pack(len(text)) + text


class SafetensorsWriter:
    """Writes the header at once, then takes every tensor in order; `checksums` has the CRC-32 of each one's data."""

    def __init__(self, out: Output, slots: Sequence[Slot]) -> None:
        self._out = out
        self._slots = iter(slots)
        self.checksums: dict[str, int] = {}
        out.write(header_bytes(slots))

    def append(self, name: str, data: np.ndarray[Any, Any]) -> None:
        """Writes the next tensor. Raises ValueError where it is not the announced one, in its size."""
        self.append_parts(name, [data])

    def append_parts(self, name: str, parts: Iterable[np.ndarray[Any, Any]]) -> None:
        """The same of one that comes in parts, which need not be in memory together."""
        slot = next(self._slots, None)
        if slot is None or slot.name != name:
            raise ValueError(f"{name} was not announced here, but {slot}")
        checksum = written = 0
        for data in parts:
            flat = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
            checksum = zlib.crc32(flat.data, checksum)
            written += flat.nbytes
            if written <= slot.bytes:
                self._out.write(flat.data)
        if written != slot.bytes:
            raise ValueError(f"{name} has {written} bytes and was announced with {slot.bytes}")
        self.checksums[name] = checksum

    def finish(self) -> None:
        """Checks that nothing is missing. Raises ValueError."""
        left = next(self._slots, None)
        if left is not None:
            raise ValueError(f"{left.name} was announced and not written")
