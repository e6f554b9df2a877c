"""Jobs that make checkpoints with the methods of core.methods.table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from core.catalog import output_name
from core.jobs.quantizing import KeyOverride, QuantizeJob, QuantizeManyResult, QuantizeOptions, QuantizeResult
from core.methods.table import GGUF_FORM, PACKED
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
    program's own; samples: at most so many windows of `length` tokens, None = 512, or the model's context where
    that is shorter. act_order, damp, sinks, target, passes: as in core.methods.calibration.Calibration.
    beside: other forms that hold the same numbers: scales and zero points are such as all of them can store.
    """

    method: str
    export: str
    beside: tuple[str, ...] = ()
    bits: int = 0
    group: int | None = None
    asymmetric: bool = False
    restricted: bool = False
    range: Literal["", "minmax", "percentile", "mse", "entropy", "given"] = ""
    percentile: float = Field(default=99.95, gt=50, le=100)
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
    length: int | None = Field(default=None, ge=16)
    act_order: Literal["groups", "static", "off"] = "groups"
    damp: float = Field(default=0.01, gt=0, le=1)
    sinks: float = Field(default=64.0, ge=1, le=1e6)
    target: float = Field(default=0.0, ge=0, le=1)
    passes: int = Field(default=4, ge=0, le=100)


class CheckpointPlanJob(Value):
    """Decides everything about a checkpoint without computing anything. Answer: Plan."""

    kind: Literal["checkpoint_plan"] = "checkpoint_plan"
    source: str
    options: MethodOptions


class CheckpointPreflightJob(Value):
    """What a checkpoint needs and what stands in its way, before it starts. Answer: PreflightResult.

    measure: times what was never timed on this machine (some seconds), where no past job tells how long it takes.
    """

    kind: Literal["checkpoint_preflight"] = "checkpoint_preflight"
    source: str
    output: str
    options: MethodOptions
    threads: int = Field(default=0, ge=0)
    device: Literal["cpu", "cuda"] = "cpu"
    measure: bool = False


class CheckpointJob(Value):
    """Quantizes a Hugging Face folder into a checkpoint, a folder `output`. Answer: CheckpointResult.

    keep_unfinished: layers that are solved stay when the job is cancelled, so that the same job goes on with them.
    """

    kind: Literal["checkpoint"] = "checkpoint"
    source: str
    output: str
    options: MethodOptions
    threads: int = Field(default=0, ge=0, description="0 = all cores")
    device: Literal["cpu", "cuda"] = "cpu"
    keep_unfinished: bool = False


class CheckpointManyJob(Value):
    """One solution in several forms: CheckpointManyResult.

    Folders are in the subfolder of `output` that is named after their form, GGUF files in `output` itself. exports
    replaces the export of `options`, and what is beside it. keep_unfinished: as in CheckpointJob.
    """

    kind: Literal["checkpoint_many"] = "checkpoint_many"
    source: str
    output: str
    exports: tuple[str, ...] = Field(min_length=1)
    options: MethodOptions
    threads: int = Field(default=0, ge=0, description="0 = all cores")
    device: Literal["cpu", "cuda"] = "cpu"
    keep_unfinished: bool = False

    @model_validator(mode="after")
    def _different(self) -> Self:
        if len(set(self.exports)) < len(self.exports):
            raise ValueError("a form is named twice")
        return self

    def options_of(self, form: str) -> MethodOptions:
        """The options with one of the forms as their export."""
        others = tuple(other for other in self.exports if other != form)
        return self.options.model_copy(update={"export": form, "beside": others})

    @property
    def jobs(self) -> tuple[CheckpointJob | QuantizeJob, ...]:
        """The same as jobs of one form each, in order; each makes what it makes here, byte for byte.

        A GGUF file is made from the first packed folder of them.
        """
        return tuple(self._file(form) if form in GGUF_FORM else self._folder(form) for form in self.exports)

    def _folder(self, form: str) -> CheckpointJob:
        return CheckpointJob(
            source=self.source,
            output=os.path.join(self.output, form),
            options=self.options_of(form),
            threads=self.threads,
            device=self.device,
            keep_unfinished=self.keep_unfinished,
        )

    def _file(self, form: str) -> QuantizeJob:
        packed = next((other for other in self.exports if other in PACKED), "")
        name = output_name(Path(self.source), form)
        return QuantizeJob(
            source=os.path.join(self.output, packed),
            output=os.path.join(self.output, name),
            options=file_options(form, Path(name).stem.removesuffix(f"-{form}")),
            threads=self.threads,
        )


def file_options(form: str, name: str) -> QuantizeOptions:
    """What makes a GGUF file of a packed folder: its integers, and the rest as it is. name: of the model."""
    named = KeyOverride(key="general.name", type="str", value=name)
    return QuantizeOptions(target=form, keep_unquantized=True, allow_requantize=True, override_kv=(named,))


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


class CheckpointManyResult(QuantizeManyResult):
    """Finished checkpoints of one solution, in the order asked for; each folder took the seconds of the whole job.

    What is no CheckpointResult is a GGUF file, whose source and errors are those of the folder that it was made from.
    """

    results: tuple[QuantizeResult | CheckpointResult, ...]
