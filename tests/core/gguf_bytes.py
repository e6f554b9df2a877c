"""Builds small GGUF files byte by byte, right and wrong ones, without the code under test."""

from __future__ import annotations

import struct

ARCHITECTURE = ("general.architecture", 8, struct.pack("<Q", 5) + b"llama")


def string(text: bytes, length: int | None = None) -> bytes:
    """A GGUF string; `length` where the file is to lie about it."""
    return struct.pack("<Q", len(text) if length is None else length) + text


def key(name: str, type_id: int, value: bytes) -> bytes:
    """One metadata entry."""
    return string(name.encode()) + struct.pack("<I", type_id) + value


def tensor(name: str, dims: tuple[int, ...], type_id: int, offset: int) -> bytes:
    """One tensor info; dims in GGUF's order, row length first."""
    numbers = b"".join(struct.pack("<Q", dimension) for dimension in dims)
    return string(name.encode()) + struct.pack("<I", len(dims)) + numbers + struct.pack("<IQ", type_id, offset)


def gguf(
    keys: list[bytes],
    tensors: list[bytes],
    data: bytes = b"",
    *,
    n_tensors: int | None = None,
    n_keys: int | None = None,
    version: int = 3,
) -> bytes:
    """A whole file, padded to 32 before `data`; the counts where the file is to lie about them."""
    head = b"GGUF" + struct.pack("<I", version)
    head += struct.pack("<Q", len(tensors) if n_tensors is None else n_tensors)
    head += struct.pack("<Q", len(keys) if n_keys is None else n_keys)
    head += b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + data


def small(type_id: int = 0, dims: tuple[int, ...] = (32, 2), data: bytes = bytes(256)) -> bytes:
    """A right file with one tensor."""
    return gguf([key(*ARCHITECTURE)], [tensor("a.weight", dims, type_id, 0)], data)
