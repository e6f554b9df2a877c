"""Jobs that look at models, and their answers."""

from __future__ import annotations

from typing import Literal

from core.values import Value


class InspectJob(Value):
    """Reads headers only. Answer: ModelSummary.

    converter: a llama.cpp checkout, whose script converts what no family here is for; "" = none.
    """

    kind: Literal["inspect"] = "inspect"
    source: str
    converter: str = ""


class ScanJob(Value):
    """Lists the models in folders and single files, headers only. Answer: ScanResult."""

    kind: Literal["scan"] = "scan"
    paths: tuple[str, ...]


class TensorStatsJob(Value):
    """Decodes one tensor for its histogram. Answer: TensorStats."""

    kind: Literal["tensor_stats"] = "tensor_stats"
    source: str
    tensor: str
    bins: int = 128


class TensorInfo(Value):
    """One tensor as a header describes it."""

    name: str
    shape: tuple[int, ...]
    type: str
    elements: int
    bytes: int


class MetadataRow(Value):
    """One metadata entry: GGUF type (or 'json'), and its value as text, long ones cut with an ellipsis."""

    key: str
    type: str
    value: str


class ModelSummary(Value):
    """What headers tell of a model. An unknown number is None, an unknown text ''.

    type: the mix the file says it is (Q4_K_M), else its most used tensor type. label: the architecture in words.
    """

    path: str
    format: Literal["gguf", "safetensors"]
    name: str
    architecture: str
    label: str
    type: str
    parameters: int
    bytes: int
    bits_per_weight: float
    layers: int | None = None
    context_length: int | None = None
    embedding_length: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    vocabulary: int | None = None
    license: str = ""
    has_chat_template: bool = False
    is_sample: bool = False
    tensors: tuple[TensorInfo, ...] = ()
    metadata: tuple[MetadataRow, ...] = ()


class ScanProblem(Value):
    """A file in a scanned folder that looks like a model but cannot be read."""

    path: str
    problem: str


class ScanResult(Value):
    """The models found (without tensors and metadata) and the files that could not be read."""

    models: tuple[ModelSummary, ...]
    problems: tuple[ScanProblem, ...] = ()


class TensorStats(Value):
    """Distribution of one tensor: `counts` has one number fewer than `edges`."""

    name: str
    type: str
    shape: tuple[int, ...]
    elements: int
    minimum: float
    maximum: float
    mean: float
    std: float
    zeros: int
    edges: tuple[float, ...]
    counts: tuple[int, ...]
