"""Vectors of 16 lanes for compiled code: arithmetic, loads, stores and transposes as LLVM vector instructions.

LLVM's own vectoriser turns loops over elements into lanes; the searches want lanes over *blocks*, so that sums never
cross lanes, and that it does not do. Here a lane type is a value like any other: `floats` (float32) and `integers`
(int32) have the usual operators, and a plain number beside one stands for that number in every lane. They exist only
inside compiled functions. LLVM splits the 16 lanes over whatever the machine has: one AVX-512 register, two of AVX,
four of SSE or NEON.

Nothing assumes finite input, and no operation is fused or reordered unless it says so (`muladd`). `larger` and
`smaller` return their second operand where either is NaN, so `smaller(larger(t, 0), 15)` is a number for every t.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core.types import Type
from numba.extending import register_model

from kernels.cpu.compiled import cgutils, intrinsic, lower_builtin, primitive_model, type_callable, types

LANES = 16
Emit = Callable[..., Any]

INT32 = ir.IntType(32)
LLVM_FLOATS = ir.VectorType(ir.FloatType(), LANES)
LLVM_INTEGERS = ir.VectorType(INT32, LANES)
LLVM_BYTES = ir.VectorType(ir.IntType(8), LANES)
LLVM_MASK = ir.VectorType(ir.IntType(1), LANES)


class FloatLanes(Type):
    """16 float32 values."""

    def __init__(self) -> None:
        super().__init__(name="float32x16")


class IntegerLanes(Type):
    """16 int32 values."""

    def __init__(self) -> None:
        super().__init__(name="int32x16")


class MaskLanes(Type):
    """16 truth values."""

    def __init__(self) -> None:
        super().__init__(name="boolx16")


floats = FloatLanes()
integers = IntegerLanes()
mask = MaskLanes()

LLVM_TYPES = {floats: LLVM_FLOATS, integers: LLVM_INTEGERS, mask: LLVM_MASK}
SCALARS = {floats: types.float32, integers: types.int32}


def _register_model(lane_type: Any, llvm_type: Any) -> None:
    """A value of the type is that LLVM vector, in registers and in memory."""
    register_model(type(lane_type))(lambda manager, numba_type: primitive_model(manager, numba_type, llvm_type))


for _lane_type, _llvm_type in LLVM_TYPES.items():
    _register_model(_lane_type, _llvm_type)


def splatted(builder: Any, value: Any, llvm_type: Any) -> Any:
    """An LLVM value in all lanes."""
    one = builder.insert_element(ir.Constant(llvm_type, ir.Undefined), value, ir.Constant(INT32, 0))
    return builder.shuffle_vector(one, ir.Constant(llvm_type, ir.Undefined), ir.Constant(LLVM_INTEGERS, [0] * LANES))


def _lanes(context: Any, builder: Any, value: Any, have: Any, want: Any) -> Any:
    """A value as lanes of the type wanted: itself, or a number in every lane."""
    if have == want:
        return value
    return splatted(builder, context.cast(builder, value, have, SCALARS[want]), LLVM_TYPES[want])


def _fits(have: Any, want: Any) -> bool:
    """Whether a value of one type may stand where lanes of another are wanted."""
    return have == want or (want in SCALARS and isinstance(have, types.Number))


def _register_operator(function: Callable[..., Any], operand: Any, result: Any, emit: Emit) -> None:
    """Teach numba `function(operand, operand) -> result`, one of the two being a number at will."""

    def typer(a: Any, b: Any) -> Any:
        known = operand in (a, b) and _fits(a, operand) and _fits(b, operand)
        return result if known else None

    type_callable(function)(lambda context: typer)

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pairs = zip(args, signature.args, strict=True)
        return emit(builder, *(_lanes(context, builder, value, have, operand) for value, have in pairs))

    for pair in ((operand, operand), (operand, types.Number), (types.Number, operand)):
        lower_builtin(function, *pair)(lower)


OPERATORS: tuple[tuple[Callable[..., Any], Any, Any, Emit], ...] = (
    (operator.add, floats, floats, lambda b, x, y: b.fadd(x, y)),
    (operator.iadd, floats, floats, lambda b, x, y: b.fadd(x, y)),
    (operator.sub, floats, floats, lambda b, x, y: b.fsub(x, y)),
    (operator.mul, floats, floats, lambda b, x, y: b.fmul(x, y)),
    (operator.truediv, floats, floats, lambda b, x, y: b.fdiv(x, y)),
    (operator.gt, floats, mask, lambda b, x, y: b.fcmp_ordered(">", x, y)),
    (operator.lt, floats, mask, lambda b, x, y: b.fcmp_ordered("<", x, y)),
    (operator.add, integers, integers, lambda b, x, y: b.add(x, y)),
    (operator.sub, integers, integers, lambda b, x, y: b.sub(x, y)),
    (operator.and_, integers, integers, lambda b, x, y: b.and_(x, y)),
    (operator.or_, integers, integers, lambda b, x, y: b.or_(x, y)),
    (operator.lshift, integers, integers, lambda b, x, y: b.shl(x, y)),
    (operator.rshift, integers, integers, lambda b, x, y: b.lshr(x, y)),
    (operator.and_, mask, mask, lambda b, x, y: b.and_(x, y)),
)
for _row in OPERATORS:
    _register_operator(*_row)


def _llvm_call(name: str) -> Emit:
    """Emit a call of LLVM's intrinsic of that name, all operands and the result being float lanes."""

    def emit(builder: Any, *args: Any) -> Any:
        kind = ir.FunctionType(LLVM_FLOATS, [LLVM_FLOATS] * len(args))
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32")
        return builder.call(function, args)

    return emit


def _typed(given: tuple[Any, ...], wanted: tuple[Any, ...], result: Any, emit: Emit) -> Any:
    """What an intrinsic returns to numba: its signature and how it is emitted; None where the types do not fit."""
    if not all(_fits(have, want) for have, want in zip(given, wanted, strict=True)):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        triples = zip(args, signature.args, wanted, strict=True)
        return emit(builder, *(_lanes(context, builder, *triple) for triple in triples))

    return result(*given), generate


@intrinsic
def splat(typing: Any, value: Any) -> Any:
    """A number, rounded to float32, in all lanes."""
    return _typed((value,), (floats,), floats, lambda builder, a: a)


@intrinsic
def muladd(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """`a · b + c`, in one rounding where the machine does that at no cost (never emulated)."""
    return _typed((a, b, c), (floats,) * 3, floats, _llvm_call("fmuladd"))


@intrinsic
def rint(typing: Any, a: Any) -> Any:
    """Nearest integers, halves to even."""
    return _typed((a,), (floats,), floats, _llvm_call("rint"))


@intrinsic
def round_away(typing: Any, a: Any) -> Any:
    """Nearest integers, halves away from zero (C's roundf)."""
    return _typed((a,), (floats,), floats, _llvm_call("round"))


@intrinsic
def root(typing: Any, a: Any) -> Any:
    """Square roots."""
    return _typed((a,), (floats,), floats, _llvm_call("sqrt"))


@intrinsic
def magnitude(typing: Any, a: Any) -> Any:
    """Absolute values."""
    return _typed((a,), (floats,), floats, _llvm_call("fabs"))


def _emit_larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _emit_smaller(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


@intrinsic
def larger(typing: Any, a: Any, b: Any) -> Any:
    """`a if a > b else b`, lane by lane."""
    return _typed((a, b), (floats,) * 2, floats, _emit_larger)


@intrinsic
def smaller(typing: Any, a: Any, b: Any) -> Any:
    """`a if a < b else b`, lane by lane."""
    return _typed((a, b), (floats,) * 2, floats, _emit_smaller)


@intrinsic
def where(typing: Any, condition: Any, a: Any, b: Any) -> Any:
    """`a if condition else b`, lane by lane."""
    return _typed((condition, a, b), (mask, floats, floats), floats, lambda builder, *args: builder.select(*args))


@intrinsic
def to_integers(typing: Any, a: Any) -> Any:
    """Float lanes, known to be within int32, without their fractions."""
    return _typed((a,), (floats,), integers, lambda builder, x: builder.fptosi(x, LLVM_INTEGERS))


@intrinsic
def to_floats(typing: Any, a: Any) -> Any:
    """Integer lanes as float32."""
    return _typed((a,), (integers,), floats, lambda builder, x: builder.sitofp(x, LLVM_FLOATS))


@intrinsic
def tagged(typing: Any, a: Any, tag: Any) -> Any:
    """Float lanes whose 7 lowest bits are those of an integer 0 … 127; that changes them by 2⁻¹⁷ of themselves at most.

    Floats of one sign still compare as before, and the tag of a minimum says which one it was.
    """

    def emit(builder: Any, x: Any, number: Any) -> Any:
        cleared = builder.and_(builder.bitcast(x, LLVM_INTEGERS), ir.Constant(LLVM_INTEGERS, [-128] * LANES))
        return builder.bitcast(builder.or_(cleared, number), LLVM_FLOATS)

    return _typed((a, tag), (floats, integers), floats, emit)


@intrinsic
def tag_of(typing: Any, a: Any) -> Any:
    """The integers that `tagged` put into float lanes."""

    def emit(builder: Any, x: Any) -> Any:
        return builder.and_(builder.bitcast(x, LLVM_INTEGERS), ir.Constant(LLVM_INTEGERS, [127] * LANES))

    return _typed((a,), (floats,), integers, emit)


def _bit_lanes(builder: Any, bits: Any) -> Any:
    spread = builder.bitcast(builder.trunc(bits, ir.IntType(16)), LLVM_MASK)
    return builder.zext(spread, LLVM_INTEGERS)


@intrinsic
def bits_to_lanes(typing: Any, bits: Any) -> Any:
    """Bit i of an integer, as 0 or 1 in lane i; bits 16 and above are ignored."""
    if not isinstance(bits, types.Integer):
        return None
    return integers(types.int64), lambda context, builder, signature, args: _bit_lanes(builder, *args)


@intrinsic
def lanes_to_bits(typing: Any, a: Any) -> Any:
    """An int64 whose bit i is the lowest bit of lane i, i = 0 … 15."""

    def emit(builder: Any, x: Any) -> Any:
        lowest = builder.trunc(x, LLVM_MASK)
        return builder.zext(builder.bitcast(lowest, ir.IntType(16)), ir.IntType(64))

    return _typed((a,), (integers,), types.int64, emit)


def _folded(emit: Emit) -> Emit:
    """Emit what the 16 lanes make together, such as their extreme, by folding their halves four times."""

    def fold(builder: Any, lanes: Any) -> Any:
        for step in (8, 4, 2, 1):
            other = ir.Constant(LLVM_INTEGERS, [lane ^ step for lane in range(LANES)])
            lanes = emit(builder, lanes, builder.shuffle_vector(lanes, lanes, other))
        return builder.extract_element(lanes, ir.Constant(INT32, 0))

    return fold


@intrinsic
def largest(typing: Any, a: Any) -> Any:
    """The largest of the lanes, as a float32; where there is NaN, some lane."""
    return _typed((a,), (floats,), types.float32, _folded(_emit_larger))


@intrinsic
def smallest(typing: Any, a: Any) -> Any:
    """The smallest of the lanes, as a float32; where there is NaN, some lane."""
    return _typed((a,), (floats,), types.float32, _folded(_emit_smaller))


@intrinsic
def total_of(typing: Any, a: Any) -> Any:
    """The sum of the lanes, as a float32, halves added to halves."""
    return _typed((a,), (floats,), types.float32, _folded(lambda builder, x, y: builder.fadd(x, y)))
