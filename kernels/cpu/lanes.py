"""Moving lanes between arrays and registers: loads and stores, columns of tiles, and room in the function's frame.

The arrays are one-dimensional and contiguous; indices are not checked.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from kernels.cpu.compiled import cgutils, intrinsic, types
from kernels.cpu.vectors import INT32, LANES, LLVM_BYTES, LLVM_FLOATS, LLVM_INTEGERS, floats, integers, splatted


def _address(context: Any, builder: Any, array: tuple[Any, Any], index: Any, llvm_type: Any) -> Any:
    """The address of element `index` of an (array type, array value) as a pointer to lanes."""
    data = context.make_array(array[0])(context, builder, array[1]).data
    return builder.bitcast(builder.gep(data, [index]), llvm_type.as_pointer())


def _loader(llvm_type: Any, finish: Any) -> Any:
    """How `load…(array, index)` is emitted: read lanes of that type, unaligned, then finish(builder, lanes)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _address(context, builder, (signature.args[0], args[0]), args[1], llvm_type)
        return finish(builder, builder.load(pointer, align=1))

    return generate


def _storer(llvm_type: Any, prepare: Any) -> Any:
    """How `store…(array, index, lanes)` is emitted: prepare(builder, lanes), then write them, unaligned."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _address(context, builder, (signature.args[0], args[0]), args[1], llvm_type)
        builder.store(prepare(builder, args[2]), pointer, align=1)
        return context.get_dummy_value()

    return generate


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """Elements index … index + 15 of a float32 array."""
    return floats(array, types.intp), _loader(LLVM_FLOATS, lambda builder, x: x)


@intrinsic
def load_everywhere(typing: Any, array: Any, index: Any) -> Any:
    """Element index of a float32 array in every lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return splatted(builder, builder.load(builder.gep(data, [args[1]])), LLVM_FLOATS)

    return floats(array, types.intp), generate


@intrinsic
def store(typing: Any, array: Any, index: Any, lanes: Any) -> Any:
    """Write lanes to elements index … index + 15 of a float32 array."""
    return types.none(array, types.intp, floats), _storer(LLVM_FLOATS, lambda builder, x: x)


@intrinsic
def load_bytes(typing: Any, array: Any, index: Any) -> Any:
    """Elements index … index + 15 of a uint8 array as integers 0 … 255."""
    return integers(array, types.intp), _loader(LLVM_BYTES, lambda builder, x: builder.zext(x, LLVM_INTEGERS))


@intrinsic
def load_signed_bytes(typing: Any, array: Any, index: Any) -> Any:
    """Elements index … index + 15 of a uint8 array, read as int8, as integers -128 … 127."""
    return integers(array, types.intp), _loader(LLVM_BYTES, lambda builder, x: builder.sext(x, LLVM_INTEGERS))


@intrinsic
def store_bytes(typing: Any, array: Any, index: Any, lanes: Any) -> Any:
    """Write the low bytes of integer lanes to elements index … index + 15 of a uint8 array."""
    prepare = _storer(LLVM_BYTES, lambda builder, x: builder.trunc(x, LLVM_BYTES))
    return types.none(array, types.intp, integers), prepare


@intrinsic
def room(typing: Any, count: Any) -> Any:
    """Uninitialised aligned room for a literal number of float lanes in the function's frame: `xs[e]` is one."""
    if not isinstance(count, types.IntegerLiteral):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return cgutils.alloca_once(builder, LLVM_FLOATS, size=signature.args[0].literal_value)

    return types.CPointer(floats)(count), generate


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """The 16 columns of 16 rows: exchange parts of pairs of rows at distances 1, 2, 4 and 8."""
    for step in (1, 2, 4, 8):
        low = [LANES + lane - step if lane & step else lane for lane in range(LANES)]
        high = [LANES + lane if lane & step else lane + step for lane in range(LANES)]
        for i in (i for i in range(LANES) if not i & step):
            a, b = rows[i], rows[i + step]
            rows[i] = builder.shuffle_vector(a, b, ir.Constant(LLVM_INTEGERS, low))
            rows[i + step] = builder.shuffle_vector(a, b, ir.Constant(LLVM_INTEGERS, high))
    return rows


@intrinsic
def load_columns(typing: Any, array: Any, first: Any, second: Any, stride: Any, target: Any) -> Any:
    """Read a 16 × 16 tile of a float32 array; its columns become target[0] … target[15].

    Rows 0 … 7 start at `first`, `first + stride`, …; rows 8 … 15 at `second`, `second + stride`, ….
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array_value, first_value, second_value, stride_value, target_value = args
        rows = []
        for row in range(LANES):
            offset = builder.mul(stride_value, ir.Constant(stride_value.type, row % 8))
            index = builder.add(first_value if row < 8 else second_value, offset)
            pointer = _address(context, builder, (signature.args[0], array_value), index, LLVM_FLOATS)
            rows.append(builder.load(pointer, align=1))
        for i, column in enumerate(_transposed(builder, rows)):
            builder.store(column, builder.gep(target_value, [ir.Constant(INT32, i)]))
        return context.get_dummy_value()

    pointers = types.CPointer(floats)
    return types.none(array, types.intp, types.intp, types.intp, pointers), generate


@intrinsic
def advanced(typing: Any, pointer: Any, count: Any) -> Any:
    """Room from its element `count` on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return types.CPointer(floats)(pointer, types.intp), generate


@intrinsic
def smallest_at(typing: Any, pointer: Any, offsets: Any, start: Any, count: Any) -> Any:
    """The least, lane by lane, of a literal number of elements of room: those offsets[start], … bytes from its begin.

    offsets: uint16. One load and one minimum an element, with no arithmetic for its address.
    """
    if not isinstance(count, types.IntegerLiteral):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer_value, offsets_value, start_value, _ = args
        data = context.make_array(signature.args[1])(context, builder, offsets_value).data
        base = builder.bitcast(pointer_value, ir.IntType(8).as_pointer())
        lanes = []
        for i in range(signature.args[3].literal_value):
            at = builder.load(builder.gep(data, [builder.add(start_value, ir.Constant(start_value.type, i))]))
            address = builder.gep(base, [builder.zext(at, ir.IntType(64))])
            lanes.append(builder.load(builder.bitcast(address, LLVM_FLOATS.as_pointer())))
        while len(lanes) > 1:
            a, b = lanes.pop(0), lanes.pop(0)
            lanes.append(builder.select(builder.fcmp_ordered("<", a, b), a, b))
        return lanes[0]

    return floats(pointer, offsets, types.intp, count), generate
