"""ggml's own C functions as an oracle for tests and benchmarks, called through ctypes; never used by the program.

The shared object of the `xllamacpp` wheel exports ggml's symbols (ggml-quants.h, ggml.h). It is found without
importing the package, so nothing of llama.cpp is started. Arrays follow the convention of `kernels`:
float32 (n_blocks, elements) on one side and uint8 (n_blocks, bytes) on the other.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.blocks import FORMATS

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

# Rows of (encode, decode) symbols; where there is no row, the names are quantize_row_X_ref and dequantize_row_X.
FLOAT_SYMBOLS = {
    "F16": ("ggml_fp32_to_fp16_row", "ggml_fp16_to_fp32_row"),
    "BF16": ("ggml_fp32_to_bf16_row_ref", "ggml_bf16_to_fp32_row"),
}


def find() -> Path | None:
    """The path of the shared object, or None where xllamacpp is not installed."""
    spec = importlib.util.find_spec("xllamacpp")
    folders = spec.submodule_search_locations if spec else None
    return next((path for folder in folders or () for path in sorted(Path(folder).glob("xllamacpp*.so"))), None)


def available() -> bool:
    """Whether the oracle can be used here."""
    return find() is not None


@functools.cache
def library() -> ctypes.CDLL:
    """The loaded shared object; raises FileNotFoundError where xllamacpp is not installed."""
    path = find()
    if path is None:
        raise FileNotFoundError("the shared object of xllamacpp is not installed")
    loaded = ctypes.CDLL(str(path))
    loaded.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
    loaded.ggml_quantize_chunk.restype = ctypes.c_size_t
    loaded.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    return loaded


def symbols(name: str) -> tuple[str, str]:
    """The exported (encode, decode) function names of a format; ggml writes the K of a K type in upper case."""
    if name in FLOAT_SYMBOLS:
        return FLOAT_SYMBOLS[name]
    stem = name[:-1].lower() + "K" if name.endswith("_K") else name.lower()
    return f"quantize_row_{stem}_ref", f"dequantize_row_{stem}"


@functools.cache
def _function(symbol: str) -> Any:
    """A `void f(const void * from, void * to, int64_t elements)` of the library."""
    function = getattr(library(), symbol)
    function.restype = None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    return function


def _quantize(name: str, x: Floats, out: Bytes, rows: int, importance: Floats | None = None) -> None:
    """Encode `rows` rows of one length into a given C-contiguous array, as llama-quantize does."""
    pointer = None if importance is None else importance.ctypes.data
    arguments = FORMATS[name].type_id, x.ctypes.data, out.ctypes.data, 0, rows, x.size // max(rows, 1), pointer
    written = library().ggml_quantize_chunk(*arguments)
    if written != out.nbytes:
        raise RuntimeError(f"ggml_quantize_chunk wrote {written} bytes of {name} where {out.nbytes} were expected")


def encode_into(name: str, x: Floats, out: Bytes) -> None:
    """Encode into a given C-contiguous array: only the C call, for timing. F32 has no C function.

    Types are encoded by what llama-quantize calls: quantize_row_iq4_nl_ref searches less than it does. Those that ggml
    does not encode without importance get ones.
    """
    fmt = FORMATS[name]
    if library().ggml_quantize_requires_imatrix(fmt.type_id):
        _quantize(name, x, out, len(x), np.ones(fmt.elements, np.float32))
    elif fmt.quantized:
        _quantize(name, x, out, rows=1)
    else:
        _function(symbols(name)[0])(x.ctypes.data, out.ctypes.data, x.size)


def decode_into(name: str, blocks: Bytes, out: Floats) -> None:
    """Decode into a given C-contiguous array: only the C call, for timing. F32 has no C function."""
    _function(symbols(name)[1])(blocks.ctypes.data, out.ctypes.data, out.size)


def encode(name: str, x: Floats) -> Bytes:
    """What ggml's reference makes of blocks: float32 (n_blocks, elements) -> uint8 (n_blocks, bytes)."""
    fmt = FORMATS[name]
    x = np.ascontiguousarray(x, dtype=np.float32)
    if x.ndim != 2 or x.shape[1] != fmt.elements:
        raise ValueError(f"{name}: blocks of {fmt.elements} elements expected, not an array of shape {x.shape}")
    if name == "F32":
        return x.view(np.uint8).copy()
    out = np.zeros((x.shape[0], fmt.bytes), dtype=np.uint8)
    encode_into(name, x, out)
    return out


def decode(name: str, blocks: Bytes) -> Floats:
    """What ggml reads from blocks: uint8 (n_blocks, bytes) -> float32 (n_blocks, elements)."""
    fmt = FORMATS[name]
    blocks = np.ascontiguousarray(blocks, dtype=np.uint8)
    if blocks.ndim != 2 or blocks.shape[1] != fmt.bytes:
        raise ValueError(f"{name}: blocks of {fmt.bytes} bytes expected, not an array of shape {blocks.shape}")
    if name == "F32":
        return blocks.view(np.float32).copy()
    out = np.zeros((blocks.shape[0], fmt.elements), dtype=np.float32)
    decode_into(name, blocks, out)
    return out


def quantize_chunk(name: str, x: Floats, importance: Floats | None = None) -> Bytes:
    """What llama-quantize writes for rows: float32 (rows, row_length) -> uint8 (rows, row_bytes).

    `importance` is one weight per column, float32 (row_length,), or None.
    """
    fmt = FORMATS[name]
    x = np.ascontiguousarray(x, dtype=np.float32)
    rows, row_length = x.shape
    out = np.zeros((rows, fmt.row_bytes(row_length)), dtype=np.uint8)
    weights = None if importance is None else np.ascontiguousarray(importance, dtype=np.float32)
    _quantize(name, x, out, rows, weights)
    return out
