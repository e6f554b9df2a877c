"""Jobs that make checkpoints with the methods of core.methods.table."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.jobs.quantizing import QuantizeResult
from core.values import Value

RoundedActivations = Literal["", "dynamic", "static", "static-asymmetric"]


class MethodRule(Value):
    """What layers whose name a regular expression finds get instead; what it does not say is as for all others.

    method: "" = the same. bits: 0 = the same. group, asymmetric, activations: None = the same, "" of the last =
    16 bits. keep: they stay as they are.
    """

    pattern: str
    method: str = ""
    bits: int = 0
    group: int | None = None
    asymmetric: bool | None = None
    activations: RoundedActivations | None = None
    keep: bool = False


class MethodOptions(Value):
    """Which checkpoint is wanted: a method and a form of core.methods.table.

    bits: 0 = the method's own. group: 0 = one scale for the tensor, -1 = for each row, None = the method's own.
    restricted: of symmetric integers, leave the lowest out. range: how much of the weights a scale covers, "" = search
    by error up to 4 bits, all of it above; percentile, range_low and range_high belong to two of these.
    double_quant: scales of NF4 and FP4 in 8 bits. activations: how they are rounded to 8 bits while the model runs, a
    name of core.methods.table.ACTIVATIONS, "" = the method's own way; activation_range, activation_percentile: what a
    static scale covers, in percent on each side. prestep: of core.methods.table.PRESTEPS, what is folded into the
    weights beforehand, "" = nothing, or the method's own; alpha: SmoothQuant's. imatrix: path of an importance matrix
    for the search by error, "" = none. skip: regular expressions of names that stay as they are. rules: for names that
    `skip` leaves; the first that finds a name decides. text: files that a calibrated method looks at, () = the
    program's own; samples: at most so many windows of `length` tokens. act_order, damp, sinks, target: as in
    core.methods.calibration.Calibration.
    """

    method: str
    export: str
    bits: int = 0
    group: int | None = None
    asymmetric: bool = False
    restricted: bool = False
    range: Literal["", "minmax", "percentile", "mse", "entropy", "given"] = ""
    percentile: float = Field(default=99.9, gt=50, le=100)
    range_low: float = Field(default=0.0, le=0, allow_inf_nan=False)
    range_high: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    double_quant: bool = False
    activations: RoundedActivations = ""
    activation_range: Literal["", "minmax", "percentile", "mse", "entropy"] = ""
    activation_percentile: float = Field(default=99.99, gt=50, le=100)
    prestep: Literal["", "awq", "smoothquant"] = ""
    alpha: float = Field(default=0.5, ge=0, le=1)
    imatrix: str = ""
    skip: tuple[str, ...] = ()
    rules: tuple[MethodRule, ...] = ()
    text: tuple[str, ...] = ()
    samples: int = Field(default=128, ge=1)
    length: int = Field(default=512, ge=16)
    act_order: Literal["groups", "static", "off"] = "groups"
    damp: float = Field(default=0.01, gt=0, le=1)
    sinks: float = Field(default=64.0, ge=1, le=1e6)
    target: float = Field(default=0.0, ge=0, le=1)


class CheckpointPlanJob(Value):
    """Decides everything about a checkpoint without computing anything. Answer: Plan."""

    kind: Literal["checkpoint_plan"] = "checkpoint_plan"
    source: str
    options: MethodOptions


class CheckpointPreflightJob(Value):
    """What a checkpoint needs and what stands in its way, before it starts. Answer: PreflightResult.

    measure: times a method that needs no text where no past job tells how long it takes.
    """

    kind: Literal["checkpoint_preflight"] = "checkpoint_preflight"
    source: str
    output: str
    options: MethodOptions
    measure: bool = False


class CheckpointJob(Value):
    """Quantizes a Hugging Face folder into a checkpoint, a folder `output`. Answer: CheckpointResult."""

    kind: Literal["checkpoint"] = "checkpoint"
    source: str
    output: str
    options: MethodOptions
    threads: int = Field(default=0, ge=0, description="0 = all cores")
    device: Literal["cpu", "cuda"] = "cpu"


class Histogram(Value):
    """How many numbers lie in each of equally wide steps from `low` to `high`."""

    low: float
    high: float
    counts: tuple[int, ...]


class ActivationFigures(Value):
    """What meets a matrix on the calibration text.

    name: the matrix in the source. shared: further ones that see the same. layer: their decoder layer, from 0. low,
    high: the extremes. percentiles: (percent, number) in ascending order. columns: how many there are. largest: the
    largest magnitude of each column, or of each of equally long runs of neighbouring columns where they are many.
    outliers: the columns where it reaches `threshold`. range_low, range_high: what an 8-bit scale for the whole tensor
    covers, None where there is none.
    """

    name: str
    layer: int
    shared: tuple[str, ...] = ()
    low: float
    high: float
    percentiles: tuple[tuple[float, float], ...]
    histogram: Histogram
    columns: int
    largest: tuple[float, ...]
    outliers: tuple[int, ...]
    threshold: float
    range_low: float | None = None
    range_high: float | None = None


class ExpertCoverage(Value):
    """How many tokens of the calibration text met each expert of a layer; what all met is blended in for few.

    rare, unused: how many experts met few, and none.
    """

    layer: int
    tokens: tuple[int, ...]
    rare: int
    unused: int


class ClippingFigures(Value):
    """Which range of its weights the integers of a matrix cover. low, high: the mean of all groups' ends.

    histogram: of a sample of the weights. clipped: the share of the sample that lies outside its own group's range.
    covered: the mean share of a group's own largest magnitude that its range reaches to.
    """

    name: str
    layer: int
    low: float
    high: float
    clipped: float
    covered: float
    histogram: Histogram


class CheckpointResult(QuantizeResult):
    """A finished checkpoint. activations and layers: of methods that looked at a text, in the order of the layers.

    clipping: of every matrix that became linear integers. experts: of the layers of a mixture, where a text was read.
    """

    activations: tuple[ActivationFigures, ...] = ()
    clipping: tuple[ClippingFigures, ...] = ()
    experts: tuple[ExpertCoverage, ...] = ()
