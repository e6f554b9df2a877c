"""Which tensors an importance matrix is used for, and what it says of one: between core.imatrix and a plan."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.catalog import Mix
from core.errors import ImatrixDoesNotFit, ImatrixNeeded, NotInImatrix
from core.imatrix import Entry, ImportanceMatrix, read_imatrix
from core.jobs import Fit, QuantizeOptions
from core.policy import needs_importance, role_of
from core.rules import Shape, Tensor
from kernels.codecs import CODECS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from core.sources import Source


def selected_matrix(options: QuantizeOptions) -> ImportanceMatrix | None:
    """The importance matrix that the options name, less what they exclude; None where they name none or exclude all.

    Raises what read_imatrix raises.
    """
    if not options.imatrix:
        return None
    matrix = read_imatrix(Path(options.imatrix)).selected(options.include_weights, options.exclude_weights)
    return matrix if matrix.entries else None


def expected_matrix(source: Source, options: QuantizeOptions) -> ImportanceMatrix | None:
    """What the importance matrix will have that is computed before the quantization: each matrix of the layers.

    None where the options exclude them all. For plans: its numbers are all alike and take no memory.
    """
    zero, entries = np.zeros((), np.float32), {}
    for tensor in source.tensors:
        if tensor.name.startswith("blk.") and tensor.name.endswith(".weight") and len(tensor.shape) > 1:
            matrices = matrices_in(tensor.shape)
            shapes = ((matrices, tensor.row_length), (matrices, 1))
            entries[tensor.name] = Entry(*(np.broadcast_to(zero, shape) for shape in shapes))
    matrix = ImportanceMatrix(entries, path=Path(options.imatrix))
    matrix = matrix.selected(options.include_weights, options.exclude_weights)
    return matrix if matrix.entries else None


def matrices_in(shape: Shape) -> int:
    """How many weight matrices a tensor holds: its experts, or 1."""
    return math.prod(shape[:-2])


def weights_for(tensor: Tensor, mix: Mix, target: tuple[str, Fit], matrix: ImportanceMatrix | None) -> bool:
    """Whether importance is used for a tensor that is to get this type at this level of search.

    Raises ImatrixNeeded and NotInImatrix where the type cannot be made without, and ImatrixDoesNotFit where the matrix
    was made for other shapes; the token embedding's entry may have any, as in llama-quantize.
    """
    type_name, fit = target
    use = CODECS[type_name].at(fit).importance
    entry = matrix.entries.get(tensor.name) if matrix else None
    if matrix is not None and entry is not None and entry.values != matrices_in(tensor.shape) * tensor.row_length:
        if role_of(tensor.name) != "token_embd":
            wanted = f"{tensor.name} needs {matrices_in(tensor.shape) * tensor.row_length} numbers"
            raise ImatrixDoesNotFit(str(matrix.path), f"{wanted} and has {entry.values} there")
        entry = None
    if entry is None and (use == "required" or needs_importance(mix, tensor, type_name)):
        if matrix is None:
            raise ImatrixNeeded(tensor.name, type_name)
        raise NotInImatrix(str(matrix.path), tensor.name, type_name)
    return entry is not None and use != "ignored"


def means_of(matrix: ImportanceMatrix, name: str, shape: Shape) -> NDArray[np.float32]:
    """What the matrix says of a tensor: float32 (experts or 1, row length)."""
    return matrix.entries[name].means(matrices_in(shape))
