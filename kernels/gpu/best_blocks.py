"""Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 at the level "best" in torch; described in kernels.reference.best_blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.best_search import SCALE_SEARCHES, TRIM_SEARCHES
from kernels.gpu import legacy
from kernels.gpu.best_search import affine_codes, best_scale, best_scale_and_minimum, scale_codes
from kernels.gpu.layout import join, pack_nibbles, split, to_codes
from kernels.gpu.weights import by_row


def _weights(x: Tensor, importance: Tensor | None) -> Tensor:
    """The weights of errors (n, 32); without importance they are those of ones, every block being a row."""
    return by_row(x, torch.ones((1, x.shape[1]), device=x.device) if importance is None else importance)


def _columns(x: Tensor) -> Tensor:
    """Blocks (n, 32) as (32, n)."""
    return x.T.contiguous()


def _scaled(name: str, x: Tensor, importance: Tensor | None, fast: Tensor) -> Tensor:
    """The fast search's blocks of a type without minimum, with those replaced for which there are better ones."""
    search, start = SCALE_SEARCHES[name], split(name, fast)["d"].float()[:, 0]
    d, better = best_scale(_columns(x), _columns(_weights(x, importance)), start, search)
    codes = torch.nan_to_num(scale_codes(x, d[:, None], -search.nmax, search.nmax - 1), nan=0.0)
    fields = {"d": d[:, None], "qs": codes} if name == "Q8_0" else {"d": d[:, None], **_packed(codes + search.nmax)}
    return torch.where(better[:, None], join(name, fields), fast)


def _affine(name: str, x: Tensor, importance: Tensor | None, fast: Tensor) -> Tensor:
    """The same of a type with minimum."""
    search, fields = TRIM_SEARCHES[name], split(name, fast)
    start = fields["d"].float()[:, 0], fields["m"].float()[:, 0]
    d, m, better = best_scale_and_minimum(_columns(x), _columns(_weights(x, importance)), start, search)
    d, m = d[:, None], m[:, None]
    made = {"d": d, "m": m, **_packed(affine_codes(x, d, m, search.nmax))}
    return torch.where(better[:, None], join(name, made), fast)


def _packed(levels: Tensor) -> dict[str, Tensor]:
    """The fields of codes (n, 32), of four or five bits."""
    codes = to_codes(levels)
    return {"qs": pack_nibbles(codes & 15), "qh": legacy.pack_fifth_bits(codes)}


def encode_q4_0(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 18); importance as in kernels.codecs."""
    return _scaled("Q4_0", x, importance, legacy.encode_q4_0(x, importance))


def encode_q4_1(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 20); importance as in kernels.codecs."""
    return _affine("Q4_1", x, importance, legacy.encode_q4_1(x, importance))


def encode_q5_0(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 22); importance as in kernels.codecs."""
    return _scaled("Q5_0", x, importance, legacy.encode_q5_0(x, importance))


def encode_q5_1(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 24); importance as in kernels.codecs."""
    return _affine("Q5_1", x, importance, legacy.encode_q5_1(x, importance))


def encode_q8_0(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 34); importance as in kernels.codecs."""
    return _scaled("Q8_0", x, importance, legacy.encode_q8_0(x))
