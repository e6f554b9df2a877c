"""IQ3_XXS and IQ3_S in torch; layouts are described in kernels.reference.iq3."""

from __future__ import annotations

from torch import Tensor

from kernels.gpu.grid_layout import (
    gathered,
    pack_even_signs,
    signed,
    spread,
    unpack_even_signs,
    unsigned,
)
from kernels.gpu.grid_search import fit_grid
from kernels.gpu.grid_tables import tables
from kernels.gpu.layout import join, split

BITS = tuple(range(8))
NIBBLES = (0, 4)


def encode_iq3_xxs(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 98)."""
    fit = fit_grid("IQ3_XXS", x, importance)
    words = pack_even_signs(fit.signs, fit.multiples)
    return join("IQ3_XXS", {"d": fit.d, "qs": fit.points, "scales_signs": words})


def decode_iq3_xxs(blocks: Tensor) -> Tensor:
    """uint8 (n, 98) -> float32 (n, 256)."""
    fields = split("IQ3_XXS", blocks)
    signs, multiples = unpack_even_signs(unsigned(fields["scales_signs"]))
    scale = fields["d"].float() * (0.5 + multiples.float()) * 0.5
    grid = tables("IQ3_XXS", blocks.device).values[fields["qs"].long()].view(-1, 8, 32)
    return signed((scale[:, :, None] * grid).view(-1, 256), signs)


def encode_iq3_s(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 110)."""
    fit = fit_grid("IQ3_S", x, importance)
    high, scales = gathered(fit.points >> 8, BITS), gathered(fit.multiples, NIBBLES)
    return join("IQ3_S", {"d": fit.d, "qs": fit.points & 255, "qh": high, "signs": fit.signs, "scales": scales})


def decode_iq3_s(blocks: Tensor) -> Tensor:
    """uint8 (n, 110) -> float32 (n, 256)."""
    fields = split("IQ3_S", blocks)
    points = fields["qs"].long() | spread(fields["qh"].long(), BITS, 1) << 8
    scale = fields["d"].float() * (1 + 2 * spread(fields["scales"].long(), NIBBLES, 15).float())
    grid = tables("IQ3_S", blocks.device).values[points].view(-1, 8, 32)
    return signed((scale[:, :, None] * grid).view(-1, 256), fields["signs"].long())
