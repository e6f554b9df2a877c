"""How everything in this folder is compiled and kept; and the parts of numba that have no static types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba.core import cgutils as _cgutils
from numba.core import types as _types
from numba.extending import intrinsic as _intrinsic
from numba.extending import lower_builtin as _lower_builtin
from numba.extending import models
from numba.extending import type_callable as _type_callable

Function = TypeVar("Function", bound=Callable[..., Any])

njit: Any = numba.njit
types: Any = _types
cgutils: Any = _cgutils
primitive_model: Any = models.PrimitiveModel
type_callable: Any = _type_callable
lower_builtin: Any = _lower_builtin

# An operation that writes its own LLVM instructions. Its Python arguments are types, those of its calls are values, so
# its calls cannot be checked statically.
intrinsic: Callable[[Callable[..., Any]], Any] = _intrinsic


def compiled(function: Function) -> Function:
    """Compile at the first call, keep the code on disk, release the GIL; division by zero gives infinity or NaN.

    No fast-math flags: they let LLVM assume that NaN does not occur, or fuse and reorder what must equal ggml's
    result.
    """
    result: Function = njit(cache=True, nogil=True, error_model="numpy")(function)
    return result


def compiled_sums(function: Function) -> Function:
    """As `compiled`, for long sums: LLVM may add in any order, hence in several lanes at once."""
    result: Function = njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})(function)
    return result


def inlined(function: Function) -> Function:
    """A part of a compiled function: typed with its caller, never kept on its own."""
    result: Function = njit(nogil=True, error_model="numpy")(function)
    return result


def spliced(function: Function) -> Function:
    """As `inlined`, for functions that are given functions: a call that hands on their addresses cannot be kept."""
    result: Function = njit(nogil=True, error_model="numpy", forceinline=True)(function)
    return result
