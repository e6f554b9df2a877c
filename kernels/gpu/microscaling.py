"""MXFP4 and NVFP4 in torch; layouts and rounding are described in kernels.reference.microscaling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kernels.codecs import E2M1_DOUBLED
from kernels.gpu.layout import join, pack_nibbles, split, unpack_nibbles
from kernels.gpu.search import quotient

# Half the values of the UE4M3 codes 0..127, and again, since the upper bit is ignored; 0x7f alone means 0.
_UE4M3 = [math.ldexp(f, -9) if e == 0 else math.ldexp(1 + f / 8, e - 7) for e in range(16) for f in range(8)]
HALF_OF_UE4M3 = tuple(value / 2 for value in (*_UE4M3[:127], 0.0, *_UE4M3))


def nearest_value(x: Tensor, scale: Tensor) -> Tensor:
    """The first code whose value, times scale, is nearest to x; x (groups, n), scale (groups, 1); 0 for NaN."""
    codes = torch.zeros_like(x, dtype=torch.uint8)
    best = x.abs()
    for code, value in enumerate(E2M1_DOUBLED):
        error = (value * scale - x).abs_()
        better = error < best
        codes.masked_fill_(better, code)
        best = torch.where(better, error, best)
    return codes


def _largest(x: Tensor) -> Tensor:
    """The largest magnitude of each group of x (groups, n), (groups, 1); NaN is none."""
    return torch.nan_to_num(x.abs(), nan=0.0, posinf=float("inf")).amax(dim=1, keepdim=True)


def half_power(exponents: Tensor) -> Tensor:
    """2^(e-128) for E8M0 exponents of any shape."""
    e = exponents.int()
    subnormal = 0x00200000 << e.clamp(max=1)
    return torch.where(e < 2, subnormal, (e - 1) << 23).view(torch.float32)


def _power(x: Tensor) -> Tensor:
    """floor(log2(x)), with the logarithm rounded to float32 once."""
    logarithm = x.log2() if x.device.type == "mps" else x.double().log2().float()  # Apple's GPU has no float64
    return logarithm.floor()


def blocks_mxfp4(exponents: Tensor, codes: Tensor) -> Tensor:
    """Exponents (n, 1) and codes uint8 (n, 32) as blocks of MXFP4."""
    return join("MXFP4", {"e": exponents, "qs": pack_nibbles(codes)})


def encode_mxfp4(x: Tensor) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 17)."""
    largest = _largest(x)
    usable = (largest > 0) & largest.isfinite()
    exponents = (torch.where(usable, _power(largest), -125.0) + 125).int() & 255
    return blocks_mxfp4(exponents, nearest_value(x, half_power(exponents)))


def decode_mxfp4(blocks: Tensor) -> Tensor:
    """uint8 (n, 17) -> float32 (n, 32)."""
    fields = split("MXFP4", blocks)
    values = torch.tensor(E2M1_DOUBLED, dtype=torch.float32, device=blocks.device)
    return values[unpack_nibbles(fields["qs"]).int()] * half_power(fields["e"])


def to_ue4m3(x: Tensor) -> Tensor:
    """Floats of any shape as UE4M3, uint8; 0 for what is not above 0."""
    x = x.clamp(max=448.0)
    bits = x.contiguous().view(torch.int32)
    exponent = (bits >> 23 & 0xFF) - 120
    normal = ((exponent << 3 | bits >> 20 & 7) + (bits >> 19 & 1)).clamp(max=0x7E)
    normal = torch.where((exponent >= 15) | (normal >= 0x78), 0x7E, normal)
    subnormal = (x * 512 + 0.5).int().clamp(max=7)
    return torch.where(x > 0, torch.where(exponent <= 0, subnormal, normal), 0).to(torch.uint8)


def half_of_ue4m3(codes: Tensor) -> Tensor:
    """Half the values of UE4M3 codes of any shape."""
    return torch.tensor(HALF_OF_UE4M3, dtype=torch.float32, device=codes.device)[codes.int()]


def blocks_nvfp4(scales: Tensor, codes: Tensor) -> Tensor:
    """Scales (n, 4), as UE4M3, and codes uint8 (n, 64) as blocks of NVFP4."""
    return join("NVFP4", {"d": scales, "qs": pack_nibbles(codes.view(-1, 4, 16)).view(-1, 32)})


def encode_nvfp4(x: Tensor) -> Tensor:
    """float32 (n, 64) -> uint8 (n, 36)."""
    groups = x.reshape(-1, 16)
    scales = to_ue4m3(quotient(_largest(groups), 6.0))
    codes = nearest_value(groups, half_of_ue4m3(scales))
    return blocks_nvfp4(scales.view(-1, 4), codes)


def decode_nvfp4(blocks: Tensor) -> Tensor:
    """uint8 (n, 36) -> float32 (n, 64)."""
    fields = split("NVFP4", blocks)
    values = torch.tensor(E2M1_DOUBLED, dtype=torch.float32, device=blocks.device)
    levels = values[unpack_nibbles(fields["qs"].view(-1, 4, 8)).int()]
    return (levels * half_of_ue4m3(fields["d"])[:, :, None]).reshape(-1, 64)
