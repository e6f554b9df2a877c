"""Bytes, signs and multiples as the IQ types pack them, for torch on any device; see kernels.reference.grid_layout.

Torch has few operations for unsigned words, so words are int64 here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.gpu.grid_tables import even_signs

WORD_SHIFTS = (0, 7, 14, 21)


def _shifts(values: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.int64, device=like.device)


def spread(words: Tensor, shifts: tuple[int, ...], mask: int) -> Tensor:
    """The bit fields of words (n, m) at `shifts`, int64 (n, m·len(shifts))."""
    return (words[:, :, None] >> _shifts(shifts, words) & mask).flatten(1)


def gathered(fields: Tensor, shifts: tuple[int, ...]) -> Tensor:
    """The inverse of `spread`: fields int64 (n, m·len(shifts)) -> words (n, m)."""
    parts = fields.view(len(fields), -1, len(shifts)) << _shifts(shifts, fields)
    return parts.sum(dim=2)


def unsigned(words: Tensor) -> Tensor:
    """Words of 16 or 32 bits as they lie in a field, int64 >= 0."""
    return words.long() & (1 << 8 * words.element_size()) - 1


def pack_even_signs(signs: Tensor, multiples: Tensor) -> Tensor:
    """Signs (n, 32) in 0..127 and multiples (n, 8) in 0..15 -> words of 32 bits (n, 8)."""
    return gathered(signs, WORD_SHIFTS) | multiples << 28


def unpack_even_signs(words: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `pack_even_signs`, but for all 8 signs of 8 weights: (n, 8) -> (n, 32) and (n, 8)."""
    return even_signs(words.device)[spread(words, WORD_SHIFTS, 127)], words >> 28 & 15


def signed(magnitudes: Tensor, signs: Tensor) -> Tensor:
    """Magnitudes (n, 256) with the signs (n, 32) of 8 weights each: where a bit is set, negative."""
    return torch.where(spread(signs, tuple(range(8)), 1) == 1, -magnitudes, magnitudes)
