"""Takes apart the arrays in which other programs pack quantized weights: codes of a few bits, and small floats.

Pure functions, arrays in and arrays out; what the codes of a checkpoint mean is in core.sources.packed_rows. Sources:
the packers of AutoGPTQ and GPTQModel (qlinear modules), AutoAWQ (gemm), compressed-tensors (pack_quantized) and
transformers (integrations/bitnet.py), and the OCP formats' specifications for E4M3, E5M2, E8M0 and E2M1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
# Where AutoAWQ's gemm layout puts the columns of a word: nibble i holds column AWQ_ORDER[i].
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_E2M1 = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0], np.float32)
E2M1: Floats = np.concatenate([_E2M1, -_E2M1])


def small_floats(exponent_bits: int, mantissa_bits: int, bias: int) -> Floats:
    """The values of all 256 codes of an 8-bit float with sign, exponent and mantissa, (256,), subnormals included."""
    code = np.arange(256)
    exponent = code >> mantissa_bits & ((1 << exponent_bits) - 1)
    fraction = (code & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    size = np.where(exponent == 0, np.ldexp(fraction, 1 - bias), np.ldexp(1 + fraction, exponent - bias))
    return np.where(code >> 7, -size, size).astype(np.float32)


def _e4m3() -> Floats:
    """OCP E4M3: no infinities, NaN in the codes with all ones."""
    table = small_floats(4, 3, 7)
    table[[0x7F, 0xFF]] = np.nan
    return table


def _e5m2() -> Floats:
    """OCP E5M2: as IEEE 754 has it, infinities and NaN in the largest exponent."""
    table = small_floats(5, 2, 15)
    table[[0x7C, 0xFC]] = np.inf, -np.inf
    table[[0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF]] = np.nan
    return table


def _e8m0() -> Floats:
    """OCP E8M0: powers of two, NaN in the last code."""
    return np.append(np.ldexp(1.0, np.arange(255) - 127), np.nan).astype(np.float32)


# By their names in safetensors.
FLOAT8: dict[str, Floats] = {"F8_E4M3": _e4m3(), "F8_E5M2": _e5m2(), "F8_E8M0": _e8m0()}


def dense_codes(words: NDArray[np.int32], bits: int, count: int) -> Bytes:
    """The first `count` codes of each row: (rows, words) of 32 bits -> (rows, count).

    Codes follow each other from the lowest bit on, over the borders of words, as compressed-tensors packs rows and GPTQ
    packs columns (where bits divides 32 the two ways of counting agree; GPTQ puts 32 codes of 3 bits into 3 words).
    """
    data = np.ascontiguousarray(words, "<i4").view(np.uint8)
    if bits == 8:
        return data[:, :count]
    if bits in (1, 2, 4):
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        codes = data[:, :, None] >> shifts & np.uint8((1 << bits) - 1)
        return codes.reshape(len(data), -1)[:, :count]
    stream = np.unpackbits(data, axis=1, bitorder="little")[:, : count * bits].reshape(len(data), count, bits)
    return np.packbits(stream, axis=2, bitorder="little")[:, :, 0]


def awq_codes(words: NDArray[np.int32]) -> Bytes:
    """The 4-bit codes of AutoAWQ's gemm layout: (rows, words) -> (rows, 8 × words), in the order of the columns."""
    nibbles = dense_codes(words, 4, 8 * words.shape[1]).reshape(len(words), -1, 8)
    return nibbles[:, :, np.argsort(AWQ_ORDER)].reshape(len(words), -1)


def nibbles_low_first(data: Bytes) -> Bytes:
    """Two codes of a byte, that in its low half first: (rows, bytes) -> (rows, 2 × bytes)."""
    return np.stack([data & 15, data >> 4], axis=2).reshape(len(data), -1)


def nibbles_high_first(data: Bytes) -> Bytes:
    """Two codes of a byte, that in its high half first: (bytes,) -> (2 × bytes,)."""
    return np.stack([data >> 4, data & 15], axis=1).reshape(-1)


def quarter_codes(data: Bytes, quarter: int) -> NDArray[np.int8]:
    """Ternary values of one of the four row blocks that share bytes (transformers' BitNet): -1, 0 or 1.

    The code 3 stands for no value; it becomes 2, as transformers' own unpacking has it.
    """
    return ((data >> np.uint8(2 * quarter)) & 3).astype(np.int8) - 1


def times(values: Floats, scales: Floats, width: int) -> Floats:
    """Multiplies rows with their scales in place: (rows, length) × (rows, ceil(length / width)), one per `width`."""
    rows, length = values.shape
    if scales.shape[1] == 1:
        values *= scales
    elif length % width == 0:
        grouped = values.reshape(rows, -1, width)
        grouped *= scales[:, :, None]
    else:
        values *= np.repeat(scales, width, axis=1)[:, :length]
    return values


def minus(codes: NDArray[np.integer], zeros: NDArray[np.integer], width: int) -> Floats:
    """Codes less their zero points, as floats: shapes as in `times`; zeros may be one number, (1, 1)."""
    values = codes.astype(np.float32)
    rows, length = values.shape
    offsets = zeros.astype(np.float32)
    if offsets.shape[1] == 1:
        values -= offsets
    elif length % width == 0:
        grouped = values.reshape(rows, -1, width)
        grouped -= offsets[:, :, None]
    else:
        values -= np.repeat(offsets, width, axis=1)[:, :length]
    return values
