"""Measuring how much each part of a model suffers when it alone is quantized, and the ranking."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.jobs.evaluation import Category
from core.jobs.quantizing import QuantizeOptions
from core.values import Value

# Many short windows tell more of how pieces differ than few long ones: as many tokens as four windows of 512.
RANKING_CONTEXT, RANKING_CHUNKS = 128, 16

# What is quantized alone: one tensor, the attention or the feed-forward part of a layer, or a whole layer.
Grain = Literal["tensor", "group", "layer"]


class SensitivityJob(Value):
    """Quantizes each piece of `source` alone, as a quantization with `options` would. Answer: SensitivityResult.

    by: what a piece is. text, categories, context, chunks: as in EvaluateJob.
    """

    kind: Literal["sensitivity"] = "sensitivity"
    source: str
    options: QuantizeOptions
    by: Grain = "group"
    text: tuple[str, ...] = ()
    categories: tuple[Category, ...] = ()
    context: int = Field(default=RANKING_CONTEXT, ge=16)
    chunks: int = Field(default=RANKING_CHUNKS, ge=0)
    threads: int = Field(default=0, ge=0, description="0 = all cores")
    device: Literal["cpu", "cuda"] = "cpu"


class SensitivityFigures(Value):
    """Some of the figures of EvaluationFigures, under the same names; NAME_error is one standard error over windows."""

    mean_kld: float
    mean_kld_error: float
    median_kld: float
    kld_99: float
    ln_ratio: float
    ln_ratio_error: float
    same_top_p: float
    same_top_p_error: float


class PieceTensor(Value):
    """A tensor of a piece: in which type it was measured, and the bytes it takes so."""

    name: str
    shape: tuple[int, ...]
    type: str
    bytes: int


class Piece(SensitivityFigures):
    """What quantizing these tensors alone does. name: the tensor's, or blk.N.attn, blk.N.ffn, blk.N. bytes: quantized.

    layer: None outside the layers. share: of the summed divergence of all pieces in percent, the mean of each window's
    own share. A text that is hard for all pieces alike does not enter its error, so it tells more surely than mean_kld
    which of two pieces suffers more.
    """

    name: str
    layer: int | None
    bytes: int
    share: float
    share_error: float
    tensors: tuple[PieceTensor, ...]


class SensitivityResult(Value):
    """The pieces, the most sensitive first. together: all of them quantized at once. bytes: of the quantized file.

    tokens: scored for every piece. warnings: what the user should know, one sentence each.
    """

    source: str
    source_bytes: int
    architecture: str
    target: str
    bytes: int
    by: Grain
    datasets: tuple[str, ...]
    context: int
    chunks: int
    tokens: int
    seconds: float
    peak_memory_bytes: int
    together: SensitivityFigures
    pieces: tuple[Piece, ...]
    warnings: tuple[str, ...] = ()
