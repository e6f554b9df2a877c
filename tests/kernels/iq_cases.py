"""Rows with and without importance for the tests of the IQ types, and checksums of what ggml makes of them.

ggml sorts for half a minute before it encodes the first block of IQ2_S or IQ1, so what it writes is kept as one CRC32 a
block in tests/golden/iq-blocks.npz. `python -m tests.kernels.iq_cases` writes that file anew, with ggml's own C code.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kernels.codecs import CODECS
from tests import ggml_oracle
from tests.kernels import samples

GOLDEN = Path(__file__).parents[1] / "golden" / "iq-blocks.npz"
ROWS, ROW = 16, 2048
NAMES = tuple(row.format.name for row in CODECS.values() if row.module in ("iq1", "iq2", "iq3"))
SLOW_IN_GGML = tuple(name for name in NAMES if name.startswith("IQ1") or name == "IQ2_S")


def importance() -> np.ndarray:
    """Importance of the columns, float32 (ROW,): positive, with a long tail, as mean squares of activations are."""
    return np.random.default_rng(5).gamma(0.5, 2.0, ROW).astype(np.float32)


def rows(distribution: str) -> np.ndarray:
    """Rows of a distribution, float32 (ROWS, ROW); of the real ones those of the embedding."""
    return samples.weights(distribution)[-ROWS * ROW :].reshape(ROWS, ROW)


def cases(name: str) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    """Label, rows and importance, or None where the format can do without it."""
    for distribution in samples.DISTRIBUTIONS:
        yield f"{distribution}, weighted", rows(distribution), importance()
        if CODECS[name].importance == "used":
            yield distribution, rows(distribution), None


def checksums(blocks: np.ndarray) -> np.ndarray:
    """One CRC32 per block of uint8 (n, bytes), as uint32 (n,)."""
    return np.array([zlib.crc32(block.tobytes()) for block in blocks], dtype=np.uint32)


def as_blocks(name: str, data: np.ndarray) -> np.ndarray:
    """Rows of bytes as blocks."""
    return data.reshape(-1, CODECS[name].format.bytes)


def ggml_checksums(name: str) -> np.ndarray:
    """The checksums of ggml's blocks of all cases one after another; from the file where ggml would take long."""
    if name in SLOW_IN_GGML:
        with np.load(GOLDEN) as stored:
            return np.array(stored[name])
    return _computed_checksums(name)


def _computed_checksums(name: str) -> np.ndarray:
    encoded = [as_blocks(name, ggml_oracle.quantize_chunk(name, x, weights)) for _, x, weights in cases(name)]
    return np.concatenate([checksums(blocks) for blocks in encoded])


if __name__ == "__main__":
    np.savez_compressed(GOLDEN, **{name: _computed_checksums(name) for name in SLOW_IN_GGML})
