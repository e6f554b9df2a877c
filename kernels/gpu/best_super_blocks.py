"""Q2_K to Q6_K at the level "best" in torch; described in kernels.reference.best_super_blocks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kernels.best_search import SPREADS, WINDOW_SEARCHES
from kernels.gpu import kquants, kquants_small
from kernels.gpu.best_search import Groups, Multiples, refine_multiples
from kernels.gpu.layout import join, pack_bits, pack_nibbles, pack_two_bits, split, to_codes
from kernels.gpu.weights import by_block, of_rows

Fields = dict[str, Tensor]
# Reads what the search starts from, and makes fields of what it found and the codes, uint8 (n, 256) from 0 up.
Reader = Callable[[Fields], Multiples]
Writer = Callable[[Multiples, Tensor], Fields]


def _multiples(fields: Fields, s: Tensor, m: Tensor | None = None) -> Multiples:
    """Halves of blocks with their multiples s and m, (n, groups)."""
    d = fields["d"].float()
    if m is None:
        return Multiples(d, torch.zeros_like(d), s.float(), torch.zeros_like(s, dtype=torch.float32))
    return Multiples(d, fields["dmin"].float(), s.float(), m.float())


def _weights(name: str, x: Tensor, importance: Tensor | None) -> Tensor:
    """The weights of errors (n, 256)."""
    if importance is not None and name == "Q6_K":
        return of_rows(importance, len(x))
    return by_block(x, torch.ones((1, 256), device=x.device) if importance is None else importance, SPREADS[name])


def _grouped(x: Tensor, size: int) -> Tensor:
    """Super-blocks (n, 256) as (size, n, groups)."""
    return x.reshape(len(x), 256 // size, size).permute(2, 0, 1).contiguous()


def _refined(name: str, x: Tensor, importance: Tensor | None, fast: Tensor, form: tuple[Reader, Writer]) -> Tensor:
    """The fast search's blocks, with those replaced for which the search found better ones."""
    read, write = form
    search = WINDOW_SEARCHES[name]
    groups = Groups(_grouped(x, search.group), _grouped(_weights(name, x, importance), search.group), search)
    found, better = refine_multiples(groups, read(split(name, fast)))
    codes = to_codes(groups.codes(found).permute(1, 2, 0).reshape(-1, 256) - search.codes[0])
    made = {"d": found.d, "dmin": found.dmin, **write(found, codes)}
    return torch.where(better[:, None], join(name, made), fast)


def _read_q2_k(fields: Fields) -> Multiples:
    return _multiples(fields, fields["scales"] & 15, fields["scales"] >> 4)


def _write_q2_k(found: Multiples, codes: Tensor) -> Fields:
    return {"scales": to_codes(found.s) | to_codes(found.m) << 4, "qs": pack_two_bits(codes)}


def _read_q3_k(fields: Fields) -> Multiples:
    return _multiples(fields, kquants_small.unpack_signed_scales(fields["scales"]).float() - 32)


def _write_q3_k(found: Multiples, codes: Tensor) -> Fields:
    scales = kquants_small.pack_signed_scales(to_codes(found.s + 32))
    return {"scales": scales, "qs": pack_two_bits(codes & 3), "hmask": pack_bits(codes.view(-1, 8, 32) >> 2)}


def _read_affine(fields: Fields) -> Multiples:
    return _multiples(fields, *kquants.unpack_scales(fields["scales"]))


def _write_affine(found: Multiples, codes: Tensor) -> Fields:
    scales = kquants.pack_scales(to_codes(found.s), to_codes(found.m))
    nibbles = pack_nibbles((codes & 15).view(-1, 4, 64)).reshape(-1, 128)
    return {"scales": scales, "qs": nibbles, "qh": pack_bits(codes.view(-1, 8, 32) >> 4)}


def _read_q6_k(fields: Fields) -> Multiples:
    return _multiples(fields, fields["scales"])


def _write_q6_k(found: Multiples, codes: Tensor) -> Fields:
    ql, qh = kquants.pack_six_bits(codes)
    return {"scales": found.s, "ql": ql, "qh": qh}


def encode_q2_k(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 84); importance as in kernels.codecs."""
    return _refined("Q2_K", x, importance, kquants_small.encode_q2_k(x, importance), (_read_q2_k, _write_q2_k))


def encode_q3_k(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 110); importance as in kernels.codecs."""
    return _refined("Q3_K", x, importance, kquants_small.encode_q3_k(x, importance), (_read_q3_k, _write_q3_k))


def encode_q4_k(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 144); importance as in kernels.codecs."""
    return _refined("Q4_K", x, importance, kquants.encode_q4_k(x, importance), (_read_affine, _write_affine))


def encode_q5_k(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 176); importance as in kernels.codecs."""
    return _refined("Q5_K", x, importance, kquants.encode_q5_k(x, importance), (_read_affine, _write_affine))


def encode_q6_k(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 210); importance as in kernels.codecs."""
    return _refined("Q6_K", x, importance, kquants.encode_q6_k(x, importance), (_read_q6_k, _write_q6_k))
