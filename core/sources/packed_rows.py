"""Weights that other programs quantized, as rows of float32: one class for each way in which they are laid out.

Every class is made by `of` from the stored tensors of one module, by the names of their last parts, and checks their
shapes before anything is read. Layouts: the packers of GPTQModel and AutoAWQ, compressed-tensors, bitsandbytes, and
transformers' integrations of BitNet, fine-grained FP8 and MXFP4.
"""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidHeader
from core.formats.packed import (
    E2M1,
    FLOAT8,
    Floats,
    awq_codes,
    dense_codes,
    minus,
    nibbles_high_first,
    nibbles_low_first,
    quarter_codes,
    times,
)
from core.sources.stored_rows import Part, StoredRows, floats

Parts = Mapping[str, Part]
Settings = Mapping[str, Any]
MAX_STATE_BYTES = 1 << 16


class PackedRows(StoredRows):
    """A weight matrix that is computed when it is read. label: how it is quantized, in words."""

    dtype = "F32"
    label = ""

    def read(self, first: int, count: int) -> NDArray[np.uint8]:
        """Rows of float32 as bytes. Damaged scales make NaN here, which whoever uses the rows reports."""
        with np.errstate(all="ignore"):
            return np.ascontiguousarray(self.numbers(first, count), np.float32).view(np.uint8)

    @abstractmethod
    def numbers(self, first: int, count: int) -> Floats:
        """Rows of weights: (count, length)."""


def _require(part: Part, is_so: bool, problem: str = "has a shape that contradicts the others of its module") -> None:
    if not is_so:
        shape = " × ".join(map(str, part.shape))
        raise InvalidHeader(str(part.reader.path), f"tensor {part.entry.name} ({part.entry.dtype}, {shape}) {problem}")


def _grouping(length: int, groups: int) -> str:
    """How many weights share a scale, in words."""
    return "one scale per row" if groups == 1 else f"group {math.ceil(length / groups)}"


# ---------------------------------------------------------------- scales beside numbers


@dataclass(frozen=True, slots=True)
class Grid:
    """Scales (or zero points) of rectangles of a matrix. rows: of one of the matrices that lie one after another.

    height, width: of a rectangle, in weights; high: rows of scales for one matrix, 0 where all share them.
    """

    part: Part
    rows: int
    height: int
    width: int
    high: int

    @classmethod
    def of(cls, part: Part, shape: tuple[int, ...], block: tuple[int, int] | None = None) -> Grid:
        """The grid for a tensor of `shape`; block: its rectangles where the shapes leave them open."""
        rows, length = shape[-2:]
        own = _as_matrix(part, shape)
        wide, high = own[-1], own[-2]
        height = _step(rows, high, block[0] if block else 0)
        width = _step(length, wide, block[1] if block else 0)
        fits = math.ceil(rows / height) == high and math.ceil(length / width) == wide
        _require(part, fits and (own == (1, 1) or own[:-2] == shape[:-2]))
        return cls(part, rows, height, width, high if len(own) > 2 else 0)

    def described(self, length: int) -> str:
        """How many weights share a scale, in words. length: of a row."""
        if self.height == 1:
            return _grouping(length, math.ceil(length / self.width))
        if self.height >= self.rows and self.width >= length:
            return "one scale per tensor"
        return f"blocks of {self.height} × {self.width}"

    def some(self, first: int, count: int) -> NDArray[np.generic]:
        """What belongs to each of the rows [first, first + count): (count, rectangles of a row)."""
        row = np.arange(first, first + count)
        place = row // self.rows * self.high + row % self.rows // self.height
        low, high = int(place.min()), int(place.max()) + 1
        wide = self.part.length if len(self.part.shape) > 1 else 1
        taken: NDArray[np.generic] = self.part.some(low, high - low).reshape(-1, wide)[place - low]
        return taken


def _as_matrix(part: Part, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A grid's shape with two dimensions at least: a single number is one of all, a vector one of each row."""
    if math.prod(part.shape) == 1:
        return (1, 1)
    if len(part.shape) == 1:
        return (*shape[:-2], part.shape[0] // math.prod(shape[:-2]), 1)
    return part.shape


def _step(size: int, parts: int, block: int) -> int:
    """How long a rectangle is of which `parts` cover `size`."""
    if parts in (1, size):
        return size // parts
    return block or math.ceil(size / max(1, parts))


class ScaledRows(PackedRows):
    """Numbers of 8 bits times scales: FP8 of every kind, integers, with or without zero points."""

    def __init__(self, weight: Part, scales: Grid, zeros: Grid | None, factor: float, label: str) -> None:
        self.parts = (weight, scales.part) if zeros is None else (weight, scales.part, zeros.part)
        self.shape = weight.shape
        self._weight, self._scales, self._zeros, self._factor = weight, scales, zeros, np.float32(factor)
        self.packed = "FP8" if weight.entry.dtype in FLOAT8 else "INT8"
        self.label = f"{label}, {scales.described(self.shape[-1])}"

    @classmethod
    def of(cls, parts: Parts, settings: Settings, label: str, scale: str = "weight_scale", factor: float = 1.0) -> Self:
        """From `weight`, its scales under the name `scale`, and zero points where there are any."""
        weight = parts["weight"]
        _require(weight, len(weight.shape) > 1 and (weight.entry.dtype in FLOAT8 or weight.entry.dtype == "I8"))
        block = settings.get("block")
        zeros = parts.get("weight_zero_point")
        grid = Grid.of(parts[scale], weight.shape, block)
        return cls(weight, grid, None if zeros is None else Grid.of(zeros, weight.shape, block), factor, label)

    def numbers(self, first: int, count: int) -> Floats:
        """(weight - zero) × scale × factor."""
        values = floats(self._weight.some(first, count))
        if self._zeros is not None:
            values = minus(values, floats(self._zeros.some(first, count)), self._zeros.width)  # type: ignore[arg-type]
        return times(values, floats(self._scales.some(first, count)) * self._factor, self._scales.width)


# ---------------------------------------------------------------- columns of words


class ColumnRows(PackedRows):
    """GPTQ and AWQ: the matrix lies the other way round, inputs as rows, so that our rows are its columns."""

    def __init__(self, weight: Part, scales: Part, zeros: Part, bits: int, length: int) -> None:
        self.parts = (weight, scales, zeros)
        self.shape = (scales.length, length)
        self._weight, self._scales, self._zeros = weight, scales, zeros
        self._bits = bits
        self._width = math.ceil(length / scales.rows)
        self._group_of: NDArray[np.int64] | None = None

    def _dequantized(self, codes: NDArray[np.uint8], zeros: NDArray[np.uint8], scales: Floats) -> Floats:
        """codes: (count, length); zeros, scales: (count, groups)."""
        if self._group_of is None:
            return times(minus(codes, zeros, self._width), scales, self._width)
        values = codes.astype(np.float32)
        values -= zeros[:, self._group_of]
        values *= scales[:, self._group_of]
        return values

    def _scales_of(self, first: int, count: int) -> Floats:
        return np.ascontiguousarray(floats(self._scales.columns(first, count)).T)


class GPTQRows(ColumnRows):
    """GPTQ of 2 to 8 bits, with or without activation order. In its first version zero points are stored less one."""

    def __init__(self, parts: Parts, bits: int, length: int, shift: int) -> None:
        super().__init__(parts["qweight"], parts["scales"], parts["qzeros"], bits, length)
        self._shift = shift
        order = parts.get("g_idx")
        self.packed = f"GPTQ{bits}"
        self.label = f"GPTQ {bits}-bit, {_grouping(length, self._scales.rows)}"
        if order is not None:
            self.parts = (*self.parts, order)
            self._read_order(order)

    @classmethod
    def of(cls, parts: Parts, settings: Settings) -> Self:
        """From `qweight`, `qzeros`, `scales` and `g_idx`; the bits follow from the shapes."""
        weight, zeros, scales = parts["qweight"], parts["qzeros"], parts["scales"]
        for part in (weight, zeros, scales):
            _require(part, len(part.shape) == 2 and math.prod(part.shape) > 0)
        _require(weight, weight.entry.dtype == "I32" and weight.length == scales.length)
        bits = zeros.length * 32 // scales.length
        _require(zeros, zeros.entry.dtype == "I32" and zeros.rows == scales.rows and 2 <= bits <= 8)
        _require(zeros, zeros.length == math.ceil(scales.length * bits / 32))
        length = weight.rows * 32 // bits
        order = parts.get("g_idx")
        if order is not None:
            _require(order, order.entry.dtype in ("I32", "I64") and 0 <= length - order.rows < 32)
            length = order.rows
        return cls(parts, bits, length, 0 if settings.get("second_version") else 1)

    def _read_order(self, order: Part) -> None:
        """Keeps the inputs' groups where they do not simply follow each other."""
        groups = order.whole().reshape(-1).astype(np.int64)
        _require(order, bool((groups >= 0).all() and (groups < self._scales.rows).all()), "names groups that are not")
        if not np.array_equal(groups, np.arange(len(groups)) // self._width):
            self._group_of = groups
            self.label += ", activation order"

    def numbers(self, first: int, count: int) -> Floats:
        """(code - zero) × scale."""
        words = self._weight.columns(first, count).astype(np.int32, copy=False).T
        codes = dense_codes(words, self._bits, self.shape[1])
        return self._dequantized(codes, self._zeros_of(first, count), self._scales_of(first, count))

    def _zeros_of(self, first: int, count: int) -> NDArray[np.uint8]:
        """Zero points of some rows: (count, groups). 32 of them take `bits` words."""
        begin, end = first // 32, math.ceil((first + count) / 32)
        low, high = begin * self._bits, min(end * self._bits, self._zeros.length)
        words = self._zeros.columns(low, high - low).astype(np.int32, copy=False)
        codes = dense_codes(words, self._bits, first + count - 32 * begin)[:, first - 32 * begin :]
        return ((codes.T + np.uint8(self._shift)) & np.uint8((1 << self._bits) - 1)).astype(np.uint8)


class AWQRows(ColumnRows):
    """AWQ in AutoAWQ's gemm layout: 4 bits with zero points, eight columns in a word, out of order."""

    @classmethod
    def of(cls, parts: Parts, settings: Settings) -> Self:
        """From `qweight`, `qzeros` and `scales`."""
        weight, zeros, scales = parts["qweight"], parts["qzeros"], parts["scales"]
        for part in (weight, zeros, scales):
            _require(part, len(part.shape) == 2 and math.prod(part.shape) > 0)
        _require(weight, weight.entry.dtype == "I32" and 8 * weight.length == scales.length)
        _require(zeros, zeros.entry.dtype == "I32" and zeros.shape == (scales.rows, weight.length))
        made = cls(weight, scales, zeros, 4, weight.rows)
        made.packed, made.label = "AWQ4", f"AWQ 4-bit, {_grouping(weight.rows, scales.rows)}"
        return made

    def numbers(self, first: int, count: int) -> Floats:
        """(code - zero) × scale."""
        low, high = first // 8, math.ceil((first + count) / 8)
        skip = slice(first - 8 * low, first - 8 * low + count)
        codes, zeros = (
            awq_codes(part.columns(low, high - low).astype(np.int32, copy=False))[:, skip].T
            for part in (self._weight, self._zeros)
        )
        scales = self._scales_of(first, count)
        return self._dequantized(np.ascontiguousarray(codes), np.ascontiguousarray(zeros), scales)


# ---------------------------------------------------------------- rows of words


class DenseRows(PackedRows):
    """compressed-tensors' pack-quantized: integers of 1 to 8 bits, one dense stream per row; signed, stored shifted."""

    def __init__(self, parts: Parts, bits: int, shape: tuple[int, int]) -> None:
        self._weight, self._scales = parts["weight_packed"], Grid.of(parts["weight_scale"], shape)
        self._zeros, order = parts.get("weight_zero_point"), parts.get("weight_g_idx")
        self.parts = tuple(part for part in (self._weight, self._scales.part, self._zeros, order) if part is not None)
        self.shape, self._bits = shape, bits
        groups = math.ceil(shape[1] / self._scales.width)
        if self._zeros is not None:
            rows = math.ceil(shape[0] / self._scales.height)
            packed = (math.ceil(rows * bits / 32), groups)
            _require(self._zeros, self._zeros.shape in (packed, (rows, groups)))
        self._group_of = None if order is None else order.whole().reshape(-1).astype(np.int64)
        if order is not None and self._group_of is not None:
            fits = len(self._group_of) == shape[1] and bool((self._group_of >= 0).all())
            _require(order, fits and bool((self._group_of < groups).all()), "names groups that are not")
        self.packed = f"INT{bits}"
        self.label = f"compressed-tensors {bits}-bit, {self._scales.described(shape[1])}"

    @classmethod
    def of(cls, parts: Parts, settings: Settings) -> Self:
        """From `weight_packed`, `weight_scale`, `weight_shape` and perhaps `weight_zero_point` and `weight_g_idx`."""
        weight, shape_part = parts["weight_packed"], parts["weight_shape"]
        _require(shape_part, shape_part.shape == (2,))
        rows, length = (int(size) for size in shape_part.whole().reshape(-1).tolist())
        _require(weight, weight.entry.dtype == "I32" and len(weight.shape) == 2 and weight.rows == rows)
        bits = weight.length * 32 // length if length > 0 else 0
        _require(weight, 1 <= bits <= 8 and weight.length == math.ceil(length * bits / 32))
        return cls(parts, bits, (rows, length))

    def numbers(self, first: int, count: int) -> Floats:
        """(code - zero) × scale."""
        words = self._weight.some(first, count).astype(np.int32, copy=False)
        codes = dense_codes(words, self._bits, self.shape[1])
        scales, zeros = floats(self._scales.some(first, count)), self._zeros_of(first, count)
        if self._group_of is None:
            return times(minus(codes, zeros, self._scales.width), scales, self._scales.width)
        shifts = zeros[:, self._group_of] if zeros.shape[1] > 1 else zeros
        return np.asarray((codes.astype(np.float32) - shifts) * scales[:, self._group_of], np.float32)

    def _zeros_of(self, first: int, count: int) -> NDArray[np.integer]:
        """Zero points as stored codes: (count, groups), or (1, 1) where half of the range is zero."""
        if self._zeros is None:
            return np.full((1, 1), 1 << (self._bits - 1), np.int16)
        if self._zeros.entry.dtype == "I8":  # one zero point of a whole tensor is not packed
            own = self._zeros.whole().astype(np.int16) + (1 << (self._bits - 1))
            return np.broadcast_to(own, (count, own.shape[1]))
        begin, end = first // 32, math.ceil((first + count) / 32)
        low, high = begin * self._bits, min(end * self._bits, self._zeros.rows)
        words = self._zeros.some(low, high - low).astype(np.int32, copy=False).T
        return dense_codes(words, self._bits, first + count - 32 * begin)[:, first - 32 * begin :].T


class Float4Rows(PackedRows):
    """NVFP4 and MXFP4 as compressed-tensors and ModelOpt store them: two E2M1 codes a byte, a small float per group.

    inverted: whether the number for the whole tensor divides.
    """

    def __init__(self, weight: Part, scales: Part, overall: Part | None, inverted: bool) -> None:
        self.parts = tuple(part for part in (weight, scales, overall) if part is not None)
        self.shape = (weight.rows, 2 * weight.length)
        self._weight, self._scales, self._overall, self._inverted = weight, scales, overall, inverted
        self._width = self.shape[1] // scales.length
        name = "MXFP4" if overall is None else "NVFP4"
        self.packed, self.label = f"{name}-packed", f"{name}, group {self._width}"

    @classmethod
    def of(cls, parts: Parts, settings: Settings, inverted: str = "", overall: str = "") -> Self:
        """From `weight_packed` or `weight`, `weight_scale`, and the number for the whole tensor by its name."""
        weight, scales = parts.get("weight_packed") or parts["weight"], parts["weight_scale"]
        _require(weight, weight.entry.dtype == "U8" and len(weight.shape) == 2)
        _require(scales, len(scales.shape) == 2 and scales.rows == weight.rows and scales.length > 0)
        _require(scales, 2 * weight.length % scales.length == 0)
        whole = parts.get(inverted) or parts.get(overall)
        if whole is not None:
            _require(whole, math.prod(whole.shape) == 1)
        return cls(weight, scales, whole, inverted in parts)

    def numbers(self, first: int, count: int) -> Floats:
        """The codes' values × group's scale × (or ÷) tensor's scale."""
        values = E2M1[nibbles_low_first(self._weight.raw(first, count))]
        return times(values, self._scales_of(first, count), self._width)

    def _scales_of(self, first: int, count: int) -> Floats:
        stored = self._scales.raw(first, count) if self._scales.entry.dtype == "U8" else None
        scales = FLOAT8["F8_E8M0"][stored] if stored is not None else floats(self._scales.some(first, count))
        if self._overall is None:
            return scales
        overall = floats(self._overall.whole()).reshape(())
        return np.asarray(scales / overall if self._inverted else scales * overall, np.float32)


# ---------------------------------------------------------------- bitsandbytes


class FlatRows(PackedRows):
    """bitsandbytes NF4 and FP4: the matrix as one run of codes, a scale for each block of it, whatever the rows are.

    With double quantization the scales are codes themselves.
    """

    def __init__(self, parts: Parts, state: Settings, table: Floats) -> None:
        self.shape = tuple(state["shape"])
        self.parts = tuple(parts.values())
        self._weight, self._scales, self._table = parts["weight"], parts["weight.absmax"], table
        self._block, self._nested = int(state["blocksize"]), parts.get("weight.nested_absmax")
        self._nested_block, self._offset = int(state.get("nested_blocksize", 1)), float(state.get("nested_offset", 0))
        nested_map = parts.get("weight.nested_quant_map")
        self._nested_table = None if nested_map is None else floats(nested_map.whole()).reshape(-1)
        kind = str(state["quant_type"]).upper()
        self.packed = kind if kind == "NF4" else f"bnb-{kind}"
        double = ", double quantization" if self._nested is not None else ""
        self.label = f"bitsandbytes {kind}, block {self._block}{double}"

    @classmethod
    def of(cls, parts: Parts, settings: Settings) -> Self:
        """From `weight`, `weight.absmax`, `weight.quant_map`, `weight.quant_state…` and what belongs to the scales."""
        state_part, table_part = parts["weight.quant_state"], parts["weight.quant_map"]
        _require(state_part, state_part.entry.bytes <= MAX_STATE_BYTES)
        state = _json_of(state_part)
        table = floats(table_part.whole()).reshape(-1)
        _require(table_part, len(table) == 16)
        elements = math.prod(state["shape"])
        _require(parts["weight"], parts["weight"].entry.bytes == math.ceil(elements / 2))
        blocks = math.ceil(elements / state["blocksize"])
        _require(parts["weight.absmax"], math.prod(parts["weight.absmax"].shape) == blocks)
        nested = parts.get("weight.nested_absmax")
        if nested is not None:
            block, codes = state.get("nested_blocksize"), parts.get("weight.nested_quant_map")
            _require(nested, type(block) is int and block > 0 and codes is not None and codes.rows == 256)
            _require(nested, nested.rows == math.ceil(blocks / int(block or 1)))
        return cls(parts, state, table)

    def numbers(self, first: int, count: int) -> Floats:
        """The codes' values × their block's scale."""
        length = self.shape[-1]
        begin, end = first * length, (first + count) * length
        low, high = begin // 2, math.ceil(end / 2)
        codes = nibbles_high_first(self._weight.bytes_of(low, high - low))[begin - 2 * low : end - 2 * low]
        block = begin // self._block
        scales = self._scales_of(block, math.ceil(end / self._block) - block)
        values = self._table[codes]
        values *= np.repeat(scales, self._block)[begin - block * self._block :][: end - begin]
        return values.reshape(count, length)

    def _scales_of(self, first: int, count: int) -> Floats:
        """The scales of some blocks: (count,)."""
        stored = self._scales.some(first, count).reshape(-1)
        if self._nested is None or self._nested_table is None:
            return floats(stored)
        low = first // self._nested_block
        outer = floats(self._nested.some(low, (first + count - 1) // self._nested_block + 1 - low)).reshape(-1)
        each = outer[np.arange(first, first + count) // self._nested_block - low]
        return self._nested_table[stored.astype(np.int64)] * each + np.float32(self._offset)


def _json_of(part: Part) -> dict[str, Any]:
    """What bitsandbytes says of a matrix, checked."""
    try:
        state = json.loads(bytes(part.bytes_of(0, part.entry.bytes)))
    except ValueError as error:
        raise InvalidHeader(str(part.reader.path), f"{part.entry.name} is no JSON: {error}") from error
    shape = state.get("shape") if isinstance(state, dict) else None
    sizes = [*shape, state.get("blocksize")] if isinstance(shape, list) and len(shape) == 2 else [0]
    if not all(type(size) is int and 0 < size < 1 << 40 for size in sizes) or "quant_type" not in state:
        raise InvalidHeader(str(part.reader.path), f"{part.entry.name} does not describe a matrix")
    return dict(state)


# ---------------------------------------------------------------- BitNet


class QuarterRows(PackedRows):
    """transformers' packed BitNet: the four quarters of the rows share bytes; one scale for the tensor.

    inverted: whether the scale divides, as it does in the class BitLinear; in AutoBitLinear it multiplies.
    """

    packed, label = "TERNARY", "BitNet ternary"

    def __init__(self, weight: Part, scale: Part, inverted: bool) -> None:
        self.parts = (weight, scale)
        self.shape = (4 * weight.rows, weight.length)
        self._weight, self._inverted = weight, inverted
        self._scale = scale

    @classmethod
    def of(cls, parts: Parts, settings: Settings) -> Self:
        """From `weight` and `weight_scale`."""
        weight, scale = parts["weight"], parts["weight_scale"]
        _require(weight, weight.entry.dtype in ("U8", "I8") and len(weight.shape) == 2)
        _require(scale, math.prod(scale.shape) == 1)
        return cls(weight, scale, bool(settings.get("inverted")))

    def numbers(self, first: int, count: int) -> Floats:
        """-1, 0 or 1 × (or ÷) the scale."""
        quarter = self._weight.rows
        runs = []
        for number in range(first // quarter, (first + count - 1) // quarter + 1):
            low, high = max(first - number * quarter, 0), min(first + count - number * quarter, quarter)
            runs.append(quarter_codes(self._weight.raw(low, high - low), number))
        values = np.concatenate(runs).astype(np.float32)
        scale = floats(self._scale.whole()).reshape(())
        return np.asarray(values / scale if self._inverted else values * scale, np.float32)
