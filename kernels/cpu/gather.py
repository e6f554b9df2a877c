"""Lanes and tables in memory: each lane reads its own element."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from kernels.cpu.compiled import cgutils, intrinsic
from kernels.cpu.vectors import INT32, LANES, LLVM_INTEGERS, LLVM_MASK, integers

POINTERS = ir.VectorType(INT32.as_pointer(), LANES)


@intrinsic
def gather(typing: Any, table: Any, index: Any) -> Any:
    """table[index] of an int32 array, lane by lane; indices are not checked."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        # The binding knows no vectors of addresses: it is told of one index, which then becomes the lanes.
        addresses = builder.gep(data, [INT32(0)])
        addresses.indices, addresses.type = (args[1],), POINTERS
        kind = ir.FunctionType(LLVM_INTEGERS, [POINTERS, INT32, LLVM_MASK, LLVM_INTEGERS])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.gather.v{LANES}i32.v{LANES}p0")
        everywhere = ir.Constant(LLVM_MASK, [1] * LANES)
        return builder.call(function, [addresses, INT32(4), everywhere, ir.Constant(LLVM_INTEGERS, ir.Undefined)])

    return (integers(table, integers), generate) if index == integers else None
