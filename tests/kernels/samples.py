"""Weights to quantize in tests: distributions, rows of the bundled sample model, and rows at the edges."""

from __future__ import annotations

import functools

import gguf
import numpy as np

from core.catalog import sample_path
from kernels.blocks import FORMATS
from kernels.measure import ErrorSums
from kernels.reference.measure import measure
from tests import ggml_oracle

ELEMENTS = 1 << 20
SAMPLE_TENSORS = ("blk.0.attn_q.weight", "blk.14.ffn_down.weight", "blk.29.ffn_up.weight", "token_embd.weight")


def normal() -> np.ndarray:
    """Gaussian weights of a size usual in language models."""
    return np.random.default_rng(1).standard_normal(ELEMENTS) * 0.02


def student(freedom: float) -> np.ndarray:
    """Heavy tails: a few weights are tens of deviations away."""
    return np.random.default_rng(2).standard_t(freedom, ELEMENTS) * 0.02


def real() -> np.ndarray:
    """Pieces of the sample model's tensors, as they decode."""
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(sample_path()).tensors}
    pieces = []
    for name in SAMPLE_TENSORS:
        tensor = tensors[name]
        values = gguf.quants.dequantize(np.array(tensor.data[:512]), tensor.tensor_type)
        pieces.append(values.ravel()[: ELEMENTS // len(SAMPLE_TENSORS)])
    return np.concatenate(pieces)


DISTRIBUTIONS = {
    "normal": normal,
    "student-t 3": lambda: student(3),
    "student-t 4": lambda: student(4),
    "real": real,
}


@functools.cache
def weights(distribution: str) -> np.ndarray:
    """The weights of a distribution as one float32 row; read-only, since all tests share them."""
    values = DISTRIBUTIONS[distribution]().astype(np.float32)
    values.flags.writeable = False
    return values


def blocks_of(name: str, values: np.ndarray) -> np.ndarray:
    """Values cut into the blocks of a format."""
    return values.reshape(-1, FORMATS[name].elements)


@functools.cache
def judged(name: str, distribution: str) -> tuple[np.ndarray, ErrorSums]:
    """What ggml makes of a distribution: blocks, and their error sums."""
    x = blocks_of(name, weights(distribution))
    encoded = ggml_oracle.encode(name, x)
    return encoded, measure(x, ggml_oracle.decode(name, encoded))


def _noise(scale: float, offset: float = 0.0) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((16, 512)) * scale + offset


def _outlier(scale: float) -> np.ndarray:
    rows = _noise(scale)
    rows[:, 77::256] = 50.0
    return rows


EDGES = {
    "zeros": np.zeros((3, 512)),
    "one positive value": np.full((3, 512), 0.3),
    "one negative value": np.full((3, 512), -0.3),
    "far above zero": _noise(0.01, 5.0),
    "far below zero": _noise(0.01, -5.0),
    "one outlier in noise": _outlier(1e-3),
    "one outlier in zeros": _outlier(0.0),
    "one negative outlier in zeros": -_outlier(0.0),
    "small": _noise(1e-7),
    "below the halves": _noise(1e-14),
    "squares underflow": _noise(1e-25),
    "denormal": _noise(1e-42),
    "beyond the halves": _noise(1e10),
    "squares overflow": _noise(1e30),
    "alternating signs": np.tile([0.5, -0.5], (3, 256)),
    "integers": np.arange(-256, 256) * np.ones((2, 1)),
}


def edge(name: str) -> np.ndarray:
    """Rows of 512 at an edge, float32."""
    return EDGES[name].astype(np.float32)
