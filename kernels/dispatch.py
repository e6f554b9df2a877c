"""Operations on tensor rows, carried out by the backend that fits: encode, decode, measure.

A row of a tensor is a whole number of blocks and blocks do not know each other, so every operation cuts its input into
runs of blocks whose temporaries stay small, whatever the shape of the tensor. Backends are imported when first used,
and only the one used. `backend="auto"` takes the available one of the highest priority among those that can do it, or
the one that the environment variable BITWRIGHT_BACKEND names; naming a backend in the call overrules both.

Importance weighs the columns of a tensor when its codes are searched for; see kernels.codecs for its form. Formats
whose encoder does not search ignore it. `fit` says how hard is searched, one of `kernels.codecs.FITS`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.codecs import CODECS, FITS, Codec, Fit, Level
from kernels.measure import ErrorSums

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]

FORCED_BACKEND = "BITWRIGHT_BACKEND"
OPERATIONS = ("encode", "decode", "measure")


class BackendUnavailable(RuntimeError):
    """The backend asked for needs a library that is not installed, or cannot do what is asked of it."""


def _unchanged(value: Any) -> Any:
    return value


def _to_device(array: Any) -> Any:
    """An array, or a tensor that is there already, on the device."""
    return importlib.import_module("kernels.gpu.transfer").to_device(array) if isinstance(array, np.ndarray) else array


def _to_host(array: Any) -> Any:
    """An array, or a tensor of whatever device as one."""
    return array if isinstance(array, np.ndarray) else importlib.import_module("kernels.gpu.transfer").to_host(array)


@dataclass(frozen=True, slots=True)
class Backend:
    """One implementation of all codecs: the package kernels.<name>.

    requirement: the library it cannot work without. priority: "auto" takes the highest; 0 is only taken when named.
    chunk_elements: elements per call, such that temporaries stay within some 64 MiB. threaded: whether its functions
    take a number of threads. lift and lower: from arrays of any backend to what its functions take, and from what they
    return to numpy arrays.
    """

    name: str
    requirement: str
    priority: int
    chunk_elements: int
    threaded: bool = False
    lift: Callable[[Any], Any] = _to_host
    lower: Callable[[Any], Any] = _unchanged

    def available(self) -> bool:
        """Whether the required library is installed."""
        return importlib.util.find_spec(self.requirement) is not None


BACKENDS: dict[str, Backend] = {
    row.name: row
    for row in (
        Backend("cpu", "numba", 2, 1 << 22, threaded=True),
        Backend("reference", "numpy", 1, 1 << 20),
        Backend("gpu", "torch", 0, 1 << 22, lift=_to_device, lower=_to_host),
    )
}


@dataclass(frozen=True, slots=True)
class Implementation:
    """One way to carry out an operation on a format; `load` imports it."""

    backend: str
    requirement: str
    priority: int
    module: str
    function: str

    def load(self, threads: int = 0) -> Callable[..., Any]:
        """The function, on native arrays of its backend, with the number of threads (0 = all cores) bound."""
        function: Callable[..., Any] = getattr(importlib.import_module(self.module), self.function)
        return functools.partial(function, threads=threads) if BACKENDS[self.backend].threaded else function


def codec(name: str) -> Codec:
    """The row of a format; raises ValueError where there is none."""
    if name not in CODECS:
        raise ValueError(f"no codec for {name!r}; there are {', '.join(CODECS)}")
    return CODECS[name]


def level(name: str, fit: Fit) -> Level:
    """How a format is encoded at a level of search; raises ValueError where there is no such format or level."""
    if fit not in FITS:
        raise ValueError(f"no fit {fit!r}; there are {', '.join(FITS)}")
    return codec(name).at(fit)


def implementations(operation: str, name: str, fit: Fit = "fast") -> list[Implementation]:
    """All ways to carry out "encode", "decode" or "measure" on a format, the highest priority first.

    Raises ValueError for an unknown operation, format or fit.
    """
    if operation not in OPERATIONS:
        raise ValueError(f"no operation {operation!r}; there are {', '.join(OPERATIONS)}")
    row, found = codec(name), level(name, fit)
    targets = {
        "encode": (found.module, row.encode, found.backends),
        "decode": (row.module, row.decode, row.backends),
        "measure": ("measure", "measure", tuple(BACKENDS)),
    }
    module, function, able = targets[operation]
    ordered = sorted((BACKENDS[backend] for backend in able), key=lambda backend: -backend.priority)
    return [Implementation(b.name, b.requirement, b.priority, f"kernels.{b.name}.{module}", function) for b in ordered]


def choose(backend: str = "auto", able: Collection[str] = tuple(BACKENDS)) -> Backend:
    """The backend to use, among those that are able to do what is wanted.

    Raises ValueError for an unknown one and BackendUnavailable where its library is missing or it is not able.
    """
    if backend == "auto":
        backend = os.environ.get(FORCED_BACKEND) or "auto"
    if backend == "auto":
        present = [BACKENDS[name] for name in able if BACKENDS[name].available()]
        if not present:
            raise BackendUnavailable("no backend that is installed can do this")
        return max(present, key=lambda row: row.priority)
    if backend not in BACKENDS:
        raise ValueError(f"no backend {backend!r}; there are {', '.join(BACKENDS)}")
    if not BACKENDS[backend].available():
        raise BackendUnavailable(f"the {backend} backend needs {BACKENDS[backend].requirement}, which is not installed")
    if backend not in able:
        raise BackendUnavailable(f"the {backend} backend cannot do this; {', '.join(able)} can")
    return BACKENDS[backend]


def _load(operation: str, name: str, backend: Backend, threads: int, fit: Fit = "fast") -> Callable[..., Any]:
    """The function of one backend for an operation on a format."""
    return next(row for row in implementations(operation, name, fit) if row.backend == backend.name).load(threads)


def _spans(count: int, per_chunk: int) -> Iterator[slice]:
    """Consecutive slices of at most `per_chunk` that cover 0..count."""
    step = max(1, per_chunk)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def _joined(parts: Iterable[Array], shape: tuple[int, int], kind: npt.DTypeLike) -> Array:
    """The parts as one array of a shape; a single part is not copied, and no part makes an array without rows."""
    arrays = list(parts)
    if len(arrays) == 1:
        return arrays[0].reshape(shape)
    return np.concatenate(arrays).reshape(shape) if arrays else np.empty(shape, kind)


def _to_blocks(row: Codec, x: Any) -> tuple[Any, tuple[int, int]]:
    """Rows of any backend as blocks (n_blocks, elements), and the shape of their bytes.

    Raises ValueError where rows do not fit.
    """
    if x.ndim != 2:
        raise ValueError(f"{row.format.name}: rows (rows, row_length) expected, not an array of shape {x.shape}")
    shape = x.shape[0], row.format.row_bytes(x.shape[1])
    return _floats(x).reshape(-1, row.format.elements), shape


def _floats(x: Any) -> Any:
    """Contiguous float32 numbers; a tensor, which `decode_in_place` made, is that already."""
    return np.ascontiguousarray(x, dtype=np.float32) if isinstance(x, np.ndarray) else x


@dataclass(frozen=True, slots=True)
class _How:
    """How hard, where and with how many threads an encoder is to search."""

    fit: Fit
    backend: str
    threads: int


@dataclass(frozen=True, slots=True)
class _Encoding:
    """One call of an encoder, planned: the backend, blocks (n, elements), their runs, and importance as it takes it."""

    backend: Backend
    function: Callable[..., Any]
    blocks: Any
    shape: tuple[int, int]
    spans: list[slice]
    weights: Any

    def lifted(self) -> Iterator[tuple[slice, Any, Any]]:
        """Every run of blocks: where it lies, its source and its codes, as arrays of the backend."""
        for span in self.spans:
            source = self.backend.lift(self.blocks[span])
            yield span, source, self.function(source, *self.weights)


def _row_weights(name: str, row_length: int, importance: Floats | None, use: str) -> Floats | None:
    """Importance as an encoder that makes such use of it takes it, (blocks_per_row, elements), or None where unused.

    Raises ValueError where it is required and missing, or does not fit the row length.
    """
    if importance is None:
        if use == "required":
            raise ValueError(f"{name} cannot be encoded without importance")
        return None
    if importance.shape != (row_length,):
        raise ValueError(f"{name}: importance ({row_length},) expected, not of shape {importance.shape}")
    if use == "ignored":
        return None
    return np.ascontiguousarray(importance, dtype=np.float32).reshape(-1, codec(name).format.elements)


def _prepare(name: str, x: Any, importance: Floats | None, how: _How) -> _Encoding:
    """Plan an encoding; runs hold whole rows where importance is used, since its first block meets a row's first."""
    row, found = codec(name), level(name, how.fit)
    blocks, shape = _to_blocks(row, x)
    weights = _row_weights(name, x.shape[1], importance, found.importance)
    chosen = choose(how.backend, found.backends if weights is None else found.weighted)
    whole = 1 if weights is None else len(weights)
    per_run = max(1, chosen.chunk_elements // row.format.elements // whole) * whole
    lifted = () if weights is None else (chosen.lift(weights),)
    function = _load("encode", name, chosen, how.threads, how.fit)
    return _Encoding(chosen, function, blocks, shape, list(_spans(len(blocks), per_run)), lifted)


def encode(
    name: str,
    x: Floats,
    *,
    importance: Floats | None = None,
    fit: Fit = "fast",
    backend: str = "auto",
    threads: int = 0,
) -> Bytes:
    """Rows in a format: float32 (rows, row_length) -> uint8 (rows, row_bytes).

    importance: float32 (row_length,), one weight per column, or None. threads: 0 = all cores; it binds the cpu backend
    only. Raises ValueError for an unknown format, fit or backend, for rows that are not whole blocks and for importance
    that does not fit or is missing where it is required; BackendUnavailable where the backend's library is missing or
    it cannot encode the format at that fit.
    """
    plan = _prepare(name, x, importance, _How(fit, backend, threads))
    return _joined((plan.backend.lower(encoded) for _, _, encoded in plan.lifted()), plan.shape, np.uint8)


def _decoded(name: str, data: Bytes, row_length: int, chosen: Backend, threads: int) -> Iterator[Any]:
    """Runs of blocks decoded by a backend, as its own arrays. Raises ValueError where the bytes do not fit."""
    row = codec(name)
    expected = row.format.row_bytes(row_length)
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != expected:
        raise ValueError(f"{name}: rows of {expected} bytes expected, not an array {data.dtype} of shape {data.shape}")
    blocks = np.ascontiguousarray(data).reshape(-1, row.format.bytes)
    function = _load("decode", name, chosen, threads)
    spans = _spans(len(blocks), chosen.chunk_elements // row.format.elements)
    return (function(chosen.lift(blocks[span])) for span in spans)


def decode(name: str, data: Bytes, row_length: int, *, backend: str = "auto", threads: int = 0) -> Floats:
    """Rows read from a format: uint8 (rows, row_bytes) -> float32 (rows, row_length).

    threads and errors as in `encode`; ValueError also where the bytes do not fit the row length.
    """
    chosen = choose(backend, codec(name).backends)
    runs = _decoded(name, data, row_length, chosen, threads)
    return _joined((chosen.lower(run) for run in runs), (len(data), row_length), np.float32)


def decode_in_place(name: str, data: Bytes, row_length: int, *, backend: str = "auto", threads: int = 0) -> Any:
    """As `decode`, but rows that a device decoded in one run stay there, as its tensor (rows, row_length).

    `encode_measured` and `measure` take them from there, so that nothing travels back and forth.
    """
    chosen = choose(backend, codec(name).backends)
    runs = list(_decoded(name, data, row_length, chosen, threads))
    if len(runs) == 1:
        return runs[0].reshape(len(data), row_length)
    return _joined((chosen.lower(run) for run in runs), (len(data), row_length), np.float32)


def measure(x: Any, y: Any, *, backend: str = "auto", threads: int = 0) -> ErrorSums:
    """The error sums of y against x, float32 arrays, or tensors, of the same shape; threads as in `encode`.

    Raises ValueError where the shapes differ.
    """
    if x.shape != y.shape:
        raise ValueError(f"arrays of the same shape expected, not {x.shape} and {y.shape}")
    chosen = choose(backend)
    function = _load("measure", "F32", chosen, threads)
    source, copy = (_floats(array).reshape(-1) for array in (x, y))
    spans = _spans(len(source), chosen.chunk_elements)
    return sum((function(chosen.lift(source[span]), chosen.lift(copy[span])) for span in spans), ErrorSums())


def encode_measured(
    name: str,
    x: Any,
    *,
    importance: Floats | None = None,
    fit: Fit = "fast",
    stored: str | None = None,
    backend: str = "auto",
    threads: int = 0,
) -> tuple[Bytes, ErrorSums]:
    """Rows in a format, and the error sums of what they decode to; arguments and errors as in `encode`.

    x: also a tensor that `decode_in_place` returned.
    stored: F32, F16 or BF16, as the weights are stored, where they lie on the format's lattice: blocks that hold them
    then take the place of searched ones (kernels.lattice).
    """
    plan = _prepare(name, x, importance, _How(fit, backend, threads))
    decoder, gauge = (_load(operation, name, plan.backend, threads) for operation in ("decode", "measure"))
    data, sums = [], ErrorSums()
    for span, source, encoded in plan.lifted():
        data.append(plan.backend.lower(encoded))
        if stored is not None:
            repacked = importlib.import_module("kernels.lattice").repacked
            data[-1] = repacked(name, _to_host(plan.blocks[span]), stored, data[-1], threads=threads)
            encoded = plan.backend.lift(data[-1])
        sums += gauge(source, decoder(encoded))
    return _joined(data, plan.shape, np.uint8), sums
