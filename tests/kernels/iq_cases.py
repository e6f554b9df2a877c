"""Rows with and without importance for the tests of the IQ types, and checksums of what ggml makes of them.

ggml sorts for half a minute before it encodes the first block of IQ2_S or IQ1, so what it writes is kept as one CRC32 a
block in tests/golden/iq-blocks.npz. `python -m tests.kernels.iq_cases` writes that file anew, with ggml's own C code.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kernels import dispatch
from kernels.codecs import CODECS
from tests import ggml_oracle
from tests.kernels import samples

GOLDEN = Path(__file__).parents[1] / "golden" / "iq-blocks.npz"
ROWS, ROW = 16, 2048
EDGE_ROWS = 8  # of each edge: the specification takes microseconds a weight
NAMES = tuple(row.format.name for row in CODECS.values() if row.module in ("iq1", "iq2", "iq3"))
WITH_ZERO_GROUPS = ("zeros", "one outlier in zeros", "mostly zeros")
SLOW_IN_GGML = tuple(name for name in NAMES if name.startswith("IQ1") or name == "IQ2_S")


def importance() -> np.ndarray:
    """Importance of the columns, float32 (ROW,): positive, with a long tail, as mean squares of activations are."""
    return np.random.default_rng(5).gamma(0.5, 2.0, ROW).astype(np.float32)


def rows(distribution: str) -> np.ndarray:
    """Rows of a distribution, float32 (ROWS, ROW); of the real ones those of the embedding."""
    return samples.weights(distribution)[-ROWS * ROW :].reshape(ROWS, ROW)


def edge(name: str) -> np.ndarray:
    """Some rows of 512 at an edge, float32."""
    return samples.edge(name)[:EDGE_ROWS]


def sources(name: str) -> Iterator[tuple[str, np.ndarray]]:
    """Label and rows of everything that ggml encodes as a format should be; many rows at once, since calls cost time.

    Where squares overflow ggml aborts the whole process; after a group of zeros it misplaces the codes of IQ3_S.
    """
    yield "distributions", np.concatenate([rows(distribution) for distribution in samples.DISTRIBUTIONS])
    misplaced = name == "IQ3_S"
    edges = [e for e in samples.EDGES if e != "squares overflow" and not (misplaced and e in WITH_ZERO_GROUPS)]
    yield "edges", np.concatenate([edge(e) for e in edges])


def cases(name: str) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    """Label, rows and importance; None as well where the format can do without it."""
    for label, x in sources(name):
        yield f"{label}, weighted", x, importance()[: x.shape[1]]
        if CODECS[name].importance == "used":
            yield label, x, None


def all_edges() -> tuple[np.ndarray, dict[str, slice]]:
    """The rows of all edges, float32 (rows, 512), and where each edge lies among them."""
    rows_of = {name: edge(name) for name in samples.EDGES}
    ends = np.cumsum([len(x) for x in rows_of.values()])
    spans = {name: slice(end - len(rows_of[name]), end) for name, end in zip(rows_of, ends, strict=True)}
    return np.concatenate(list(rows_of.values())), spans


@functools.cache
def specified(name: str) -> dict[str, np.ndarray]:
    """What the specification writes for each case, rows of bytes by label."""
    return {label: dispatch.encode(name, x, importance=w, backend="reference") for label, x, w in cases(name)}


def checksums(name: str, data: np.ndarray) -> np.ndarray:
    """One CRC32 per block of rows of bytes, as uint32 (n_blocks,)."""
    blocks = data.reshape(-1, CODECS[name].format.bytes)
    return np.array([zlib.crc32(block.tobytes()) for block in blocks], dtype=np.uint32)


def ggml_checksums(name: str) -> dict[str, np.ndarray]:
    """The checksums of ggml's blocks by the label of the case; from the file where ggml would take long."""
    if name not in SLOW_IN_GGML:
        return _computed_checksums(name)
    with np.load(GOLDEN) as stored:
        return {label: stored[f"{name}: {label}"] for label, _, _ in cases(name)}


def _computed_checksums(name: str) -> dict[str, np.ndarray]:
    return {label: checksums(name, ggml_oracle.quantize_chunk(name, x, weights)) for label, x, weights in cases(name)}


if __name__ == "__main__":
    computed = {name: _computed_checksums(name) for name in SLOW_IN_GGML}
    np.savez_compressed(GOLDEN, **{f"{name}: {label}": a for name, by in computed.items() for label, a in by.items()})
