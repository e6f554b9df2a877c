"""Which tensors lie on the lattice of their target type already, so that repacking them loses nothing.

A few rows of a tensor say it: a model trained for a format, or quantized before and written as floats, has all its
weights there, any other one none. The kernels keep to the codes block by block, where they fit (kernels.lattice).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.jobs import Fit, TensorPlan
from kernels.codecs import CODECS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.sources import Source, SourceTensor
    from kernels.lattice import Detection

LOSSLESS = "its weights lie on this type's lattice already: repacked without loss"
ROUNDED = "its weights lie on this type's lattice already: codes are kept, only scales are rounded"
# Rows are looked at in so many places of a tensor, and about so many weights in each.
PLACES, WEIGHTS = 3, 4096
KEPT = 20_000
_FOUND: dict[tuple[object, ...], Detection] = {}


def stored_floats(tensor: SourceTensor) -> str:
    """The floats whose rounding a tensor's weights went through: its own, or F32 for what is decoded."""
    return tensor.type if tensor.type in ("F16", "BF16") else "F32"


def with_lattice(row: TensorPlan, source: Source, tensor: SourceTensor, fit: Fit) -> TensorPlan:
    """The row, and what it says of repacking; looks at rows of the source where the type has a lattice.

    The reference search promises ggml's bytes, so nothing is repacked for it. Raises what reading raises.
    """
    if fit == "reference" or row.target_type == tensor.type or not tensor.readable:
        return row
    if not CODECS[row.target_type].format.quantized:
        return row
    found = _found(source, tensor, row.target_type)
    if found is None or not found.on_lattice:
        return row
    reason = f"{row.reason}; {LOSSLESS if found.lossless else ROUNDED}"
    return row.model_copy(update={"reason": reason, "repacked": True, "lossless": found.lossless})


def _found(source: Source, tensor: SourceTensor, target: str) -> Detection | None:
    """How a tensor lies to the lattice of a type, None for a type without one; kept while the files stay as they are.

    The window asks for a plan, its memory and what stands in its way, one after another.
    """
    from kernels import lattice  # numpy: not needed for plans in which nothing is quantized

    if target not in lattice.LATTICES:
        return None
    states = ((str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in source.files)
    key = (*states, tensor.name, target)
    if key not in _FOUND:
        if len(_FOUND) >= KEPT:
            _FOUND.clear()
        _FOUND[key] = lattice.detect(target, _sample(source, tensor), stored_floats(tensor))
    return _FOUND[key]


def _sample(source: Source, tensor: SourceTensor) -> NDArray[np.float32]:
    """Rows from the beginning, the middle and the end of a tensor; decoded by numpy, with nothing to be compiled."""
    import numpy as np

    from kernels import dispatch

    rows = min(tensor.rows, max(1, WEIGHTS // tensor.row_length))
    firsts = sorted({(tensor.rows - rows) * place // (PLACES - 1) for place in range(PLACES)})
    raw = np.concatenate([source.raw(tensor, first, rows) for first in firsts])
    return dispatch.decode(tensor.type, raw, tensor.row_length, backend="reference")
