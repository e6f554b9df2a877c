"""TQ1_0, TQ2_0, Q1_0 and Q2_0 in torch; layouts and rounding are described in kernels.reference.ternary."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.gpu.layout import join, pack_bits, pack_two_bits, split, to_codes, unpack_bits, unpack_two_bits
from kernels.gpu.legacy import half_away, reciprocal
from kernels.gpu.search import quotient, sequential_sum

TRITS = ((0, 32, 5), (160, 16, 5), (240, 4, 4))  # the first element, the number of bytes and digits in each
POWERS = (81, 27, 9, 3, 1)
CARRIES = (1, 3, 9, 27, 81)


def _multiples(x: Tensor, beyond: float = 0.0) -> tuple[Tensor, Tensor]:
    """The largest magnitude d (n, 1) of blocks x, and the nearest multiples; `beyond` for quotients not finite."""
    d = torch.nan_to_num(x.abs(), nan=0.0, posinf=float("inf")).amax(dim=1, keepdim=True)
    quotients = half_away(x * reciprocal(d))
    return d, torch.where(quotients.isfinite(), quotients, beyond)


def pack_trits(codes: Tensor) -> Tensor:
    """Codes uint8 (n, 256) in 0..2 -> the 52 bytes of qs and qh, (n, 52)."""
    parts = []
    for start, width, digits in TRITS:
        lanes = codes[:, start : start + width * digits].reshape(-1, digits, width).int()
        powers = torch.tensor(POWERS[:digits], dtype=torch.int32, device=codes.device)[:, None]
        parts.append(((lanes * powers).sum(dim=1) * 256 + 242) // 243)
    return torch.cat(parts, dim=1).to(torch.uint8)


def unpack_trits(packed: Tensor) -> Tensor:
    """The inverse of `pack_trits`: (n, 52) -> codes (n, 256) in 0..2."""
    parts = []
    at = 0
    for _, width, digits in TRITS:
        carries = torch.tensor(CARRIES[:digits], dtype=torch.int32, device=packed.device)[:, None]
        shifted = packed[:, None, at : at + width].int() * carries & 255
        parts.append((shifted * 3 >> 8).view(-1, digits * width))
        at += width
    return torch.cat(parts, dim=1).to(torch.uint8)


def blocks_tq1_0(d: Tensor, codes: Tensor) -> Tensor:
    """Steps (n, 1) and codes uint8 (n, 256) as blocks of TQ1_0."""
    packed = pack_trits(codes)
    return join("TQ1_0", {"qs": packed[:, :48], "qh": packed[:, 48:], "d": d})


def encode_tq1_0(x: Tensor) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 54)."""
    d, multiples = _multiples(x)
    return blocks_tq1_0(d, to_codes(multiples + 1))


def decode_tq1_0(blocks: Tensor) -> Tensor:
    """uint8 (n, 54) -> float32 (n, 256)."""
    fields = split("TQ1_0", blocks)
    return (unpack_trits(torch.cat([fields["qs"], fields["qh"]], dim=1)).float() - 1) * fields["d"].float()


def blocks_tq2_0(d: Tensor, codes: Tensor) -> Tensor:
    """Steps (n, 1) and codes uint8 (n, 256) as blocks of TQ2_0."""
    return join("TQ2_0", {"qs": pack_two_bits(codes), "d": d})


def encode_tq2_0(x: Tensor) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 66)."""
    d, multiples = _multiples(x)
    return blocks_tq2_0(d, to_codes(multiples + 1))


def decode_tq2_0(blocks: Tensor) -> Tensor:
    """uint8 (n, 66) -> float32 (n, 256)."""
    fields = split("TQ2_0", blocks)
    return (unpack_two_bits(fields["qs"]).float() - 1) * fields["d"].float()


def blocks_q2_0(d: Tensor, codes: Tensor) -> Tensor:
    """Steps (n, 1) and codes uint8 (n, 64) as blocks of Q2_0."""
    fours = codes.view(-1, 16, 4)
    packed = fours[:, :, 0] | fours[:, :, 1] << 2 | fours[:, :, 2] << 4 | fours[:, :, 3] << 6
    return join("Q2_0", {"d": d, "qs": packed})


def encode_q2_0(x: Tensor) -> Tensor:
    """float32 (n, 64) -> uint8 (n, 18)."""
    d, multiples = _multiples(x, beyond=-1.0)
    return blocks_q2_0(d, to_codes(multiples + 1))


def decode_q2_0(blocks: Tensor) -> Tensor:
    """uint8 (n, 18) -> float32 (n, 64)."""
    fields = split("Q2_0", blocks)
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8, device=blocks.device)
    codes = (fields["qs"][:, :, None] >> shifts & 3).view(-1, 64)
    return (codes.float() - 1) * fields["d"].float()


def blocks_q1_0(d: Tensor, codes: Tensor) -> Tensor:
    """Steps (n, 1) and codes uint8 (n, 128) as blocks of Q1_0."""
    return join("Q1_0", {"d": d, "qs": pack_bits(codes.view(-1, 16, 8).transpose(1, 2))})


def encode_q1_0(x: Tensor) -> Tensor:
    """float32 (n, 128) -> uint8 (n, 18)."""
    d = quotient(sequential_sum(x.abs().T.contiguous()), 128.0)[:, None]
    return blocks_q1_0(d, (x >= 0).to(torch.uint8))


def decode_q1_0(blocks: Tensor) -> Tensor:
    """uint8 (n, 18) -> float32 (n, 128)."""
    fields = split("Q1_0", blocks)
    positive = unpack_bits(fields["qs"]).transpose(1, 2).reshape(-1, 128)
    d = fields["d"].float()
    return torch.where(positive == 1, d, -d)
