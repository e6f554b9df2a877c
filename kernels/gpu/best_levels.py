"""The level "best" of the types of uneven levels in torch, as specified in kernels.reference.best_levels.

Sums run in the device's order, so that where two scales all but tie another may win than by the specification. No block
ends with more error than the fast search's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kernels.best_levels import LARGEST_MULTIPLES, LEVEL_SEARCHES, UNIT_FITS, LevelSearch
from kernels.gpu import microscaling, nonlinear, ternary
from kernels.gpu.layout import join, pack_nibbles, split, to_codes
from kernels.gpu.weights import by_block, of_rows

LARGEST_HALF = 65504.0
Blocks = Callable[[Tensor, Tensor], Tensor]
Decode = Callable[[Tensor], Tensor]


def _error_weights(name: str, x: Tensor, importance: Tensor | None) -> Tensor:
    """What the errors of blocks x (n, elements) count."""
    means = torch.ones((1, x.shape[1]), device=x.device) if importance is None else importance
    spread = LEVEL_SEARCHES[name].spread
    return of_rows(means, len(x)) if spread is None else by_block(x, means, spread)


def _to_half(scale: Tensor) -> Tensor:
    """Scales as halves, within their range, as float32."""
    return scale.clamp(-LARGEST_HALF, LARGEST_HALF).half().float()


def _extreme(x: Tensor) -> Tensor:
    """The element of the largest magnitude of every row of x (n, m), (n,)."""
    return x.gather(1, x.abs().argmax(dim=1, keepdim=True))[:, 0]


def _ratio(upper: Tensor, lower: Tensor) -> Tensor:
    """The quotient, and 0 where the divisor is not above 0."""
    return torch.where(lower > 0, upper / lower, torch.zeros_like(upper))


class Groups:
    """Groups of weights x (n, elements), what their errors count, and the levels they may have."""

    def __init__(self, x: Tensor, weights: Tensor, levels: tuple[int, ...]) -> None:
        """levels: by code."""
        values, code_of = np.unique(np.array(levels, np.float32), return_index=True)
        self.x, self.weights = x, weights
        self.values = torch.from_numpy(values).to(x.device)
        self.borders = (self.values[1:] + self.values[:-1]) / 2
        self.code_of = torch.from_numpy(code_of.astype(np.uint8)).to(x.device)

    def places(self, scale: Tensor) -> Tensor:
        """Where among the values the levels nearest to the weights over scales (n,) are; 0 is near everything."""
        divisor = scale[:, None]
        return torch.bucketize(torch.where(divisor != 0, self.x / divisor, 0.0), self.borders, out_int32=True)

    def codes(self, scale: Tensor) -> Tensor:
        """The codes of the nearest levels, uint8 (n, elements)."""
        return self.code_of[self.places(scale)]

    def measured(self, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The error with scales (n,), and Σ w·x·q and Σ w·q² of the nearest levels q."""
        q = self.values[self.places(scale)]
        error = (q * scale[:, None]).sub_(self.x).square_().mul_(self.weights).sum(dim=1)
        weighted = self.weights * q
        return error, (weighted * self.x).sum(dim=1), weighted.mul_(q).sum(dim=1)

    def best(self, candidates: Iterator[Tensor]) -> Tensor:
        """The scales (n,) of least error."""
        found = torch.zeros_like(self.x[:, 0])
        least = torch.full_like(found, torch.inf)
        for scale in candidates:
            error, _, _ = self.measured(scale)
            found = torch.where(error < least, scale, found)
            least = torch.fmin(error, least)
        return found


def _free_scales(groups: Groups, search: LevelSearch) -> Iterator[Tensor]:
    """The starts, and what each is refitted to."""
    extreme = _extreme(groups.x)
    for start in search.starts:
        scale = _to_half(extreme / start)
        yield scale
        for _ in range(search.refits):
            _, sum_qx, sum_q2 = groups.measured(scale)
            scale = _to_half(_ratio(sum_qx, sum_q2))
            yield scale


@dataclass(frozen=True, slots=True)
class Fast:
    """What the fast search made of blocks, and how such blocks are read."""

    blocks: Tensor
    decode: Decode


def _better_of(x: Tensor, weights: Tensor, blocks: Tensor, fast: Fast) -> Tensor:
    """Of two encodings of each block the one of less error; the fast one where they tie or there is NaN."""
    wide = torch.float32 if x.device.type == "mps" else torch.float64  # Apple's GPU has no float64

    def errors(encoded: Tensor) -> Tensor:
        return (x.to(wide) - fast.decode(encoded)).square_().mul_(weights).sum(dim=1)

    return torch.where((errors(blocks) < errors(fast.blocks))[:, None], blocks, fast.blocks)


def _freely_scaled(name: str, x: Tensor, importance: Tensor | None, fast: Fast, made: Blocks) -> Tensor:
    """Blocks of types whose scale is any half, one for each. made: blocks of scales (n, 1) and codes."""
    search, weights = LEVEL_SEARCHES[name], _error_weights(name, x, importance)
    groups = Groups(x, weights, search.levels)
    scale = groups.best(_free_scales(groups, search))
    if min(search.levels) == -max(search.levels):
        scale = scale.abs()
    return _better_of(x, weights, made(scale[:, None], groups.codes(scale)), fast)


def _stored_scaled(name: str, x: Tensor, importance: Tensor | None, fast: Fast, made: Blocks) -> Tensor:
    """Blocks of MXFP4 or NVFP4. made: blocks of stored scales (n, groups) and codes."""
    search, weights = LEVEL_SEARCHES[name], _error_weights(name, x, importance)
    known, last = (split(name, fast.blocks)["e"], 254) if name == "MXFP4" else (split(name, fast.blocks)["d"], 126)
    value = microscaling.half_power if name == "MXFP4" else microscaling.half_of_ue4m3
    groups = Groups(x.reshape(-1, search.group), weights.reshape(-1, search.group), search.levels)
    stored = known.int().reshape(-1)
    found, least = stored, torch.full_like(groups.x[:, 0], torch.inf)
    for step in (0, *search.steps):
        tried = (stored + step).clamp(0, last)
        error, _, _ = groups.measured(value(tried))
        found, least = torch.where(error < least, tried, found), torch.fmin(error, least)
    codes = groups.codes(value(found)).view(x.shape)
    return _better_of(x, weights, made(found.to(torch.uint8).view(known.shape), codes), fast)


class _Units:
    """The best d (n_blocks,) and multiples (n_blocks, 8) of IQ4_XS so far."""

    def __init__(self, groups: Groups, scales: Tensor) -> None:
        """scales: of the groups of 32, (n_blocks, 8)."""
        self.groups, self.scales = groups, scales
        self.d, self.multiples = torch.zeros_like(scales[:, 0]), torch.zeros_like(scales)
        self.least = torch.full_like(self.d, torch.inf)

    def measured(self, d: Tensor, multiples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `Groups.measured`, (n_blocks, 8) each."""
        error, sum_qx, sum_q2 = self.groups.measured((d[:, None] * multiples).reshape(-1))
        return error.view(-1, 8), sum_qx.view(-1, 8), sum_q2.view(-1, 8)

    def consider(self, d: Tensor, multiples: Tensor) -> None:
        """Takes these where their error is smaller."""
        error = self.measured(d, multiples)[0].sum(dim=1)
        better = error < self.least
        self.d, self.least = torch.where(better, d, self.d), torch.where(better, error, self.least)
        self.multiples = torch.where(better[:, None], multiples, self.multiples)

    def start(self) -> None:
        """The largest scale as each of a few multiples."""
        extreme = _extreme(self.scales)
        for multiple in LARGEST_MULTIPLES:
            d = _to_half(extreme / multiple)
            inverse = torch.where(d != 0, 1 / d, 0.0)[:, None]
            self.consider(d, (self.scales * inverse).round().clamp(-32, 31))

    def refine(self) -> None:
        """Each multiple up to one beside, then d fitted to all codes."""
        best, least = self.multiples, self.measured(self.d, self.multiples)[0]
        for step in (-1, 1):
            tried = (self.multiples + step).clamp(-32, 31)
            error = self.measured(self.d, tried)[0]
            best, least = torch.where(error < least, tried, best), torch.fmin(error, least)
        self.consider(self.d, best)
        _, sum_qx, sum_q2 = self.measured(self.d, self.multiples)
        upper = (self.multiples * sum_qx).sum(dim=1)
        self.consider(_to_half(_ratio(upper, (self.multiples.square() * sum_q2).sum(dim=1))), self.multiples)


def encode_iq4_xs(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 136); importance as in kernels.codecs."""
    fast = Fast(nonlinear.encode_iq4_xs(x, importance), nonlinear.decode_iq4_xs)
    search, weights = LEVEL_SEARCHES["IQ4_NL"], _error_weights("IQ4_NL", x, importance)
    groups = Groups(x.reshape(-1, 32), weights.reshape(-1, 32), search.levels)
    units = _Units(groups, groups.best(_free_scales(groups, search)).view(-1, 8))
    units.start()
    for _ in range(UNIT_FITS):
        units.refine()
    low, high = nonlinear.pack_scales(to_codes(units.multiples + 32))
    codes = groups.codes((units.d[:, None] * units.multiples).reshape(-1))
    fields = {"d": units.d[:, None], "scales_h": high, "scales_l": low, "qs": pack_nibbles(codes).view(-1, 128)}
    return _better_of(x, weights, join("IQ4_XS", fields), fast)


def encode_iq4_nl(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 18); importance as in kernels.codecs."""
    fast = Fast(nonlinear.encode_iq4_nl(x, importance), nonlinear.decode_iq4_nl)
    return _freely_scaled("IQ4_NL", x, importance, fast, nonlinear.blocks_iq4_nl)


def encode_mxfp4(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 32) -> uint8 (n, 17); importance as in kernels.codecs."""
    fast = Fast(microscaling.encode_mxfp4(x), microscaling.decode_mxfp4)
    return _stored_scaled("MXFP4", x, importance, fast, microscaling.blocks_mxfp4)


def encode_nvfp4(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 64) -> uint8 (n, 36); importance as in kernels.codecs."""
    fast = Fast(microscaling.encode_nvfp4(x), microscaling.decode_nvfp4)
    return _stored_scaled("NVFP4", x, importance, fast, microscaling.blocks_nvfp4)


def encode_tq1_0(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 54); importance as in kernels.codecs."""
    fast = Fast(ternary.encode_tq1_0(x), ternary.decode_tq1_0)
    return _freely_scaled("TQ1_0", x, importance, fast, ternary.blocks_tq1_0)


def encode_tq2_0(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 256) -> uint8 (n, 66); importance as in kernels.codecs."""
    fast = Fast(ternary.encode_tq2_0(x), ternary.decode_tq2_0)
    return _freely_scaled("TQ2_0", x, importance, fast, ternary.blocks_tq2_0)


def encode_q1_0(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 128) -> uint8 (n, 18); importance as in kernels.codecs."""
    fast = Fast(ternary.encode_q1_0(x), ternary.decode_q1_0)
    return _freely_scaled("Q1_0", x, importance, fast, ternary.blocks_q1_0)


def encode_q2_0(x: Tensor, importance: Tensor | None = None) -> Tensor:
    """float32 (n, 64) -> uint8 (n, 18); importance as in kernels.codecs."""
    fast = Fast(ternary.encode_q2_0(x), ternary.decode_q2_0)
    return _freely_scaled("Q2_0", x, importance, fast, ternary.blocks_q2_0)
