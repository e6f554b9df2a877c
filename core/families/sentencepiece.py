"""Reads a SentencePiece `tokenizer.model` (Llama 1 and 2, Mistral 7B): its pieces, scores and kinds.

The file is one protocol-buffers message, ModelProto of sentencepiece_model.proto: field 1, repeated, is a piece
{1: text, 2: score (float), 3: kind}; field 3 is the normalizer {3: add_dummy_prefix}. A message is a sequence of
(varint field number << 3 | wire type, value); wire types are 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import InvalidHeader, ReadFailed

MAX_BYTES = 64 << 20
_NORMAL = 1
_KINDS = range(1, 7)  # NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE: the same numbers as GGUF's


@dataclass(frozen=True, slots=True)
class Piece:
    """One token; kind is numbered as in tokenizer.ggml.token_type."""

    text: str
    score: float
    kind: int


@dataclass(frozen=True, slots=True)
class Pieces:
    """A whole tokenizer.model. adds_space: whether a space is put before the text."""

    pieces: tuple[Piece, ...]
    adds_space: bool


def read_pieces(path: Path) -> Pieces:
    """Reads a tokenizer.model. Raises InvalidHeader where it is none, and ReadFailed."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidHeader(str(path), f"it is larger than {MAX_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise ReadFailed(str(path), error.strerror or str(error)) from error
    try:
        return _model(data)
    except (ValueError, struct.error) as error:
        raise InvalidHeader(str(path), f"it is not a SentencePiece model: {error}") from error


def _model(data: bytes) -> Pieces:
    pieces, adds_space = [], True
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            pieces.append(_piece(value))
        elif number == 3 and isinstance(value, bytes):
            adds_space = bool(dict(_fields(value)).get(3, 1))
    if not pieces:
        raise ValueError("it holds no pieces")
    return Pieces(tuple(pieces), adds_space)


def _piece(data: bytes) -> Piece:
    fields = dict(_fields(data))
    text, score, kind = fields.get(1, b""), fields.get(2, b"\0\0\0\0"), fields.get(3, _NORMAL)
    if not isinstance(text, bytes) or not isinstance(score, bytes) or kind not in _KINDS:
        raise ValueError("a piece is described wrongly")
    return Piece(text.decode("utf-8"), float(struct.unpack("<f", score)[0]), int(kind))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The (field number, value) pairs of a message: an int for a varint, bytes for the others."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        wire = tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield tag >> 3, value
            continue
        if wire == 2:
            length, position = _varint(data, position)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {position}")
        if position + length > len(data):
            raise ValueError("it ends in the middle of a field")
        yield tag >> 3, data[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A variable-length number and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("it ends in the middle of a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
    raise ValueError("a number has more than 64 bits")
