"""Brings a decoder layer's weights from a Source into transformers' modules: the inverse of a family's tensor rules.

Rows of queries and keys go back into Hugging Face's order, shifts are taken off, stacked experts are unstacked. All
numbers are float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from core.errors import CannotRun
from core.families.conversion import interleaved_rows
from core.families.family import TensorRule
from core.network.experts import separated
from core.network.rows import NetworkRow
from core.sources import Source, SourceTensor

EXPERT = "{1}"


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """One GGUF tensor and the parameter it belongs to; in `path`, `{1}` stands for the expert's number.

    row_order: which row of the parameter is each row of the GGUF tensor, None where they are in the same order.
    """

    tensor: SourceTensor
    path: str
    shift: float
    row_order: NDArray[np.int64] | None

    @property
    def paths(self) -> tuple[str, ...]:
        """The parameter's path in the layer, or one for each expert."""
        if EXPERT not in self.path:
            return (self.path,)
        return tuple(self.path.replace(EXPERT, str(number)) for number in range(self.tensor.shape[0]))


def places(row: NetworkRow, source: Source, layer: int, heads: dict[str, int]) -> tuple[Place, ...]:
    """All tensors of a layer. heads: how many there are, by the names of Dimensions. Raises CannotRun."""
    tensors = {tensor.name: tensor for tensor in source.tensors}
    rules: dict[str, TensorRule] = {}
    for rule in row.family.tensors:
        if rule.per_layer:
            rules.setdefault(rule.target.format(layer), rule)
    missing = [name for name, rule in rules.items() if name not in tensors and not rule.optional]
    if missing:
        raise CannotRun(str(source.path), f"the tensor {missing[0]} is missing")
    return tuple(_place(row, tensors[name], rule, heads) for name, rule in rules.items() if name in tensors)


def _place(row: NetworkRow, tensor: SourceTensor, rule: TensorRule, heads: dict[str, int]) -> Place:
    path = rule.source.partition("{0}.")[2]
    for before, after in row.renames:
        path = path.replace(before, after)
    # A vector is one row to the source, and its elements are in the order of the rows it belongs to.
    order = interleaved_rows(tensor.shape[0], heads[rule.heads]) if rule.heads else None
    return Place(tensor, path, rule.shift, order)


def values(source: Source, place: Place, threads: int = 0) -> torch.Tensor:
    """A tensor's numbers as the parameter has them, float32, in GGUF's shape. Raises what Source.read raises."""
    array = source.read(place.tensor, threads=threads).reshape(place.tensor.shape)
    source.release(place.tensor)
    if place.shift:
        array = array - np.float32(place.shift)
    if place.row_order is not None:
        ordered = np.empty_like(array)
        ordered[place.row_order] = array
        array = ordered
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def prepare(module: nn.Module) -> None:
    """Makes a layer's modules take the weights as they come: experts apart, projections plain matrices.

    Call it with the meta device as the default one.
    """
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if hasattr(child, "gate_up_proj") and hasattr(child, "num_experts"):
                setattr(parent, name, separated(child))
            elif type(child).__name__ == "Conv1D":  # GPT-2's, whose matrix lies the other way round
                weight = child.get_parameter("weight")
                setattr(parent, name, nn.Linear(weight.shape[0], weight.shape[1]))


def fill(module: nn.Module, source: Source, all_places: tuple[Place, ...], device: torch.device) -> None:
    """Loads all weights of a layer. Raises CannotRun where one is left without, and what Source.read raises."""
    for place in all_places:
        numbers = values(source, place)
        pieces = numbers if len(place.paths) > 1 or EXPERT in place.path else (numbers,)
        for path, piece in zip(place.paths, pieces, strict=True):
            _put(module, path, piece.to(device), source)
    for name, part in module.named_modules():
        for kind, parameter in list(part.named_parameters(recurse=False)):
            if not parameter.is_meta:
                continue
            if kind != "bias":
                raise CannotRun(str(source.path), f"nothing in it belongs to {name}.{kind}")
            part.register_parameter("bias", None)


def _put(module: nn.Module, path: str, numbers: torch.Tensor, source: Source) -> None:
    owner, _, name = path.rpartition(".")
    try:
        part: Any = module.get_submodule(owner)
    except AttributeError as error:
        raise CannotRun(str(source.path), f"transformers has no place for {path}") from error
    known = getattr(part, name, None)
    if known is not None and known.shape != numbers.shape:
        numbers = numbers.reshape(known.shape) if known.numel() == numbers.numel() else numbers
        if known.shape != numbers.shape:
            raise CannotRun(str(source.path), f"{path} has the shape {tuple(numbers.shape)}, not {tuple(known.shape)}")
    part.register_parameter(name, nn.Parameter(numbers, requires_grad=False))


def empty(module: nn.Module) -> None:
    """Gives a layer's memory back: its parameters have shapes afterwards, and no numbers."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            part.register_parameter(name, nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False))
