"""IQ2_XXS, IQ2_XS and IQ2_S in torch; layouts are described in kernels.reference.iq2."""

from __future__ import annotations

import torch
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
from kernels.gpu.grid_tables import even_signs, tables
from kernels.gpu.layout import join, split

BYTES = (0, 8, 16, 24)
NIBBLES = (0, 4)
PAIRS_OF_BITS = (0, 2, 4, 6)


def _scaled(d: Tensor, multiples: Tensor, grid: Tensor) -> Tensor:
    """Magnitudes (n, 256) of points grid (n, 32, 8), with d (n, 1) and the 4-bit multiples of groups."""
    scale = d.float() * (0.5 + multiples.float()) * 0.25
    return (scale[:, :, None] * grid.view(*multiples.shape, -1)).view(-1, 256)


def encode_iq2_xxs(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 66); raises ValueError without importance."""
    fit = fit_grid("IQ2_XXS", x, importance)
    words = torch.stack([gathered(fit.points, BYTES), pack_even_signs(fit.signs, fit.multiples)], dim=2)
    return join("IQ2_XXS", {"d": fit.d, "qs": spread(words.view(-1, 16), (0, 16), 65535)})


def decode_iq2_xxs(blocks: Tensor) -> Tensor:
    """uint8 (n, 66) -> float32 (n, 256)."""
    fields = split("IQ2_XXS", blocks)
    words = gathered(unsigned(fields["qs"]), (0, 16))
    signs, multiples = unpack_even_signs(words[:, 1::2])
    grid = tables("IQ2_XXS", blocks.device).values[spread(words[:, ::2], BYTES, 255)]
    return signed(_scaled(fields["d"], multiples, grid), signs)


def encode_iq2_xs(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 74); raises ValueError without importance."""
    fit = fit_grid("IQ2_XS", x, importance)
    return join("IQ2_XS", {"d": fit.d, "qs": fit.points | fit.signs << 9, "scales": gathered(fit.multiples, NIBBLES)})


def decode_iq2_xs(blocks: Tensor) -> Tensor:
    """uint8 (n, 74) -> float32 (n, 256)."""
    fields = split("IQ2_XS", blocks)
    codes = unsigned(fields["qs"])
    grid = tables("IQ2_XS", blocks.device).values[codes & 511]
    magnitudes = _scaled(fields["d"], spread(fields["scales"].long(), NIBBLES, 15), grid)
    return signed(magnitudes, even_signs(blocks.device)[codes >> 9])


def encode_iq2_s(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 82)."""
    fit = fit_grid("IQ2_S", x, importance)
    high, scales = gathered(fit.points >> 8, PAIRS_OF_BITS), gathered(fit.multiples, NIBBLES)
    return join("IQ2_S", {"d": fit.d, "qs": fit.points & 255, "signs": fit.signs, "qh": high, "scales": scales})


def decode_iq2_s(blocks: Tensor) -> Tensor:
    """uint8 (n, 82) -> float32 (n, 256)."""
    fields = split("IQ2_S", blocks)
    points = fields["qs"].long() | spread(fields["qh"].long(), PAIRS_OF_BITS, 3) << 8
    grid = tables("IQ2_S", blocks.device).values[points]
    magnitudes = _scaled(fields["d"], spread(fields["scales"].long(), NIBBLES, 15), grid)
    return signed(magnitudes, fields["signs"].long())
