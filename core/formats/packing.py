"""Small integers packed into words, as the checkpoints of GPTQ, AWQ, compressed-tensors, bitsandbytes and BitNet have.

Pure functions on arrays; codes are whole numbers from 0 to 2^bits - 1 unless it says otherwise. Sources: gemm.py and
the packing code of AutoAWQ and GPTQModel, compressed-tensors' pack_quantized, bitsandbytes' quantize_4bit,
transformers' integrations/bitnet.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint8]
Words = NDArray[np.int32]

# Column of a group of eight that each nibble of an AWQ word holds, the lowest first.
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def words_for(count: int, bits: int) -> int:
    """How many 32-bit words hold so many codes."""
    return -(-count * bits // 32)


def stream(codes: Codes, bits: int) -> Words:
    """Rows of codes (rows, count) as bit streams, the lowest bits first: int32 (rows, words_for(count, bits)).

    Codes may cross from one word into the next; the last word is filled with zeros.
    """
    rows, count = codes.shape
    padded = np.pad(codes, ((0, 0), (0, -count % 8)))
    eights = np.zeros((rows, padded.shape[1] // 8), "<u8")
    for place in range(8):  # eight codes are so many bytes as a code has bits
        eights |= padded[:, place::8].astype(np.uint64) << np.uint64(bits * place)
    packed = eights.view(np.uint8).reshape(rows, -1, 8)[:, :, :bits].reshape(rows, -1)
    out = np.zeros((rows, 4 * words_for(count, bits)), np.uint8)
    held = min(packed.shape[1], out.shape[1])
    out[:, :held] = packed[:, :held]
    return out.view("<i4").astype(np.int32, copy=False)


def gptq_weights(codes: Codes, bits: int) -> Words:
    """Weights (rows, columns) as `qweight`: int32 (columns * bits / 32, rows). 32 must divide columns * bits."""
    return np.ascontiguousarray(stream(codes, bits).T)


def gptq_zeros(zeros: Codes, bits: int) -> Words:
    """Zero points (rows, groups), from 1 to 2^bits, as `qzeros` of version 1, which stores them less one.

    int32 (groups, rows * bits / 32); 32 must divide rows * bits.
    """
    return stream(np.ascontiguousarray((zeros - 1).T.astype(np.uint8)), bits)


def awq_words(codes: Codes) -> Words:
    """4-bit codes (rows, columns) as AWQ's int32 (columns, rows / 8). 8 must divide rows."""
    turned = np.ascontiguousarray(codes.T).reshape(codes.shape[1], -1, 8)
    return stream(turned[:, :, AWQ_ORDER].reshape(codes.shape[1], -1), 4)


def nibbles(codes: Codes) -> NDArray[np.uint8]:
    """4-bit codes (n,) two in a byte, the first in its upper half: uint8 (n / 2, 1). n must be even."""
    pairs = codes.reshape(-1, 2)
    packed: NDArray[np.uint8] = pairs[:, 0] << np.uint8(4) | pairs[:, 1]
    return packed.reshape(-1, 1)


def ternary_bytes(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Codes -1, 0, 1 (rows, columns) four in a byte: uint8 (rows / 4, columns). 4 must divide rows.

    A byte holds the rows i, i + rows/4, i + rows/2 and i + 3 rows/4, each plus one, the first in its lowest two bits.
    """
    quarters = (codes + 1).astype(np.uint8).reshape(4, -1, codes.shape[1])
    packed: NDArray[np.uint8] = quarters[0].copy()
    for number in (1, 2, 3):
        packed |= quarters[number] << np.uint8(2 * number)
    return packed
