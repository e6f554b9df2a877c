"""One entry to the compiled functions: whole arrays in, ranges of blocks over a pool of threads, whole arrays out."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.blocks import BlockFormat

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
# A function of (flat input, flat output), usually compiled, that fills the output and returns nothing.
BlockFunction = Callable[[Any, Any], None]
# The same of (flat input of whole rows, flat importance of one row, flat output).
WeightedBlockFunction = Callable[[Any, Any, Any], None]

# Below this many elements a task costs more to hand over than to run.
MIN_ELEMENTS_PER_TASK = 1 << 16
# More tasks than threads, so that a thread that the system holds back does not hold back the rest.
TASKS_PER_THREAD = 4


def available_threads() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ranges(n_blocks: int, elements: int, threads: int) -> list[tuple[int, int]]:
    """Split blocks of `elements` elements into (start, stop) ranges for `threads` threads (0 = all cores)."""
    threads = threads or available_threads()
    most = max(1, n_blocks * elements // MIN_ELEMENTS_PER_TASK)
    tasks = 1 if threads == 1 else min(threads * TASKS_PER_THREAD, most)
    edges = [n_blocks * i // tasks for i in range(tasks + 1)]
    return list(itertools.pairwise(edges))


_here = threading.local()


def begin_pooled() -> None:
    """Says of the calling thread that it is one of several at work, so that what it calls takes no others."""
    _here.is_pooled = True


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that stay: to start them costs more than many a small matrix."""
    return ThreadPoolExecutor(threads, "kernels", begin_pooled)


def map_ranges(function: Callable[[int, int], Any], spans: list[tuple[int, int]], threads: int) -> list[Any]:
    """`function(start, stop)` of every range, in order, on `threads` threads (0 = all cores).

    In a function that is called so, everything is done at once: who waits for others holds a thread that they need.
    """
    if len(spans) == 1 or threads == 1 or getattr(_here, "is_pooled", False):
        return [function(*span) for span in spans]
    return list(_pool(threads or available_threads()).map(function, *zip(*spans, strict=True)))


def read_only_flat(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A one-dimensional read-only view: numba compiles once per array type, and inputs may be read-only maps."""
    flat = array.reshape(-1)
    flat.flags.writeable = False
    return flat


def run_chunked(function: BlockFunction, x: npt.NDArray[Any], out: npt.NDArray[Any], threads: int) -> None:
    """Fill `out` (n_blocks, …) from `x` (n_blocks, …) with a compiled function, split by blocks over threads."""

    def run(start: int, stop: int) -> None:
        function(read_only_flat(x[start:stop]), out[start:stop].reshape(-1))

    elements = max(x.shape[1], out.shape[1])
    map_ranges(run, ranges(len(x), elements, threads), threads)


def encode(function: BlockFunction, fmt: BlockFormat, x: Floats, threads: int) -> Bytes:
    """Blocks of a format from float32 (n_blocks, elements); raises ValueError for any other shape."""
    if x.ndim != 2 or x.shape[1] != fmt.elements:
        raise ValueError(f"{fmt.name}: blocks of {fmt.elements} elements expected, not an array of shape {x.shape}")
    x = np.require(x, np.float32, ["C", "A"])
    out = np.empty((len(x), fmt.bytes), dtype=np.uint8)
    run_chunked(function, x, out, threads)
    return out


def decode(function: BlockFunction, fmt: BlockFormat, blocks: Bytes, threads: int) -> Floats:
    """float32 (n_blocks, elements) from blocks of a format; raises ValueError for any other shape."""
    if blocks.ndim != 2 or blocks.shape[1] != fmt.bytes:
        raise ValueError(f"{fmt.name}: blocks of {fmt.bytes} bytes expected, not an array of shape {blocks.shape}")
    blocks = np.require(blocks, np.uint8, ["C"])
    out = np.empty((len(blocks), fmt.elements), dtype=np.float32)
    run_chunked(function, blocks, out, threads)
    return out


def encode_weighted(
    function: WeightedBlockFunction, fmt: BlockFormat, x: Floats, importance: Floats, threads: int
) -> Bytes:
    """As `encode`, with importance (blocks_per_row, elements) of one row; threads take whole rows.

    Raises ValueError also where importance has another shape or the blocks are not whole rows.
    """
    if x.ndim != 2 or x.shape[1] != fmt.elements:
        raise ValueError(f"{fmt.name}: blocks of {fmt.elements} elements expected, not an array of shape {x.shape}")
    out = np.empty((len(x), fmt.bytes), dtype=np.uint8)
    improve(function, fmt, x, importance, (out, threads))
    return out


def improve(
    function: WeightedBlockFunction, fmt: BlockFormat, x: Floats, importance: Floats, into: tuple[Bytes, int]
) -> None:
    """Have a function fill or change blocks that exist, given x and importance, on a number of threads.

    into: the blocks uint8 (n_blocks, bytes), and the threads. Raises ValueError as `encode_weighted` does.
    """
    out, threads = into
    if importance.ndim != 2 or importance.shape[1] != fmt.elements or len(x) % max(1, len(importance)):
        raise ValueError(f"{fmt.name}: {len(x)} blocks are not whole rows for importance of shape {importance.shape}")
    x = np.require(x, np.float32, ["C", "A"])
    weights = read_only_flat(np.require(importance, np.float32, ["C", "A"]))
    per_row = max(1, len(importance))

    def run(start: int, stop: int) -> None:
        rows = slice(start * per_row, stop * per_row)
        function(read_only_flat(x[rows]), weights, out[rows].reshape(-1))

    map_ranges(run, ranges(len(x) // per_row, per_row * fmt.elements, threads), threads)
