"""Jobs that make GGUF files or look at what was made, and their answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.values import Value

# The levels of search, kernels.codecs.FITS.
Fit = Literal["reference", "fast", "best"]


class Override(Value):
    """A type chosen by the user for one tensor, by its exact name, or for all whose name a regular expression finds.

    What is the exact name of a tensor is never taken as an expression, and counts more than one.
    """

    tensor: str
    type: str


class KeyOverride(Value):
    """A metadata entry of the output set by the user: value as text, in the notation of llama.cpp's --override-kv."""

    key: str
    type: Literal["int", "float", "bool", "str"]
    value: str


class GptqOptions(Value):
    """How GPTQ solves the layers of a GGUF file.

    text, samples, length: as in core.jobs.checkpoints.MethodOptions. act_order, damp, sinks, target, passes: as in
    core.methods.calibration.Calibration.
    """

    text: tuple[str, ...] = ()
    samples: int = Field(default=128, ge=1)
    length: int | None = Field(default=None, ge=16)
    act_order: Literal["static", "groups", "off"] = "static"
    damp: float = Field(default=0.01, gt=0, le=1)
    sinks: float = Field(default=64.0, ge=1, le=1e6)
    target: float = Field(default=0.0, ge=0, le=1)
    passes: int = Field(default=4, ge=0, le=100)


class QuantizeOptions(Value):
    """Which types are wanted. `target` is a mix (Q4_K_M), a type (Q8_0) or COPY, as llama-quantize calls them.

    pure: every quantizable tensor gets the mix's base type. allow_requantize: accept a quantized source.
    output_tensor_type, token_embedding_type: for these two tensors, "" = what the mix says. leave_output_tensor: the
    output layer stays as it is. strict: a type that does not fit is an error. imatrix: path of an importance matrix,
    "" = none; include_weights and exclude_weights: parts of names of the tensors it is used, or not used, for.
    override_kv: metadata of the output. keep_split: as many files as the source has. split_max_bytes: as many files
    as are needed for none to be larger, 0 = one file. fit: how hard the codes of every type are searched for;
    "reference" writes the bytes that llama-quantize would, "best" looks farther than it does and takes longer.
    keep_unquantized: what the source stores as plain numbers keeps its type.
    prune_layers: the numbers of layers that are dropped; names in the other options are those of the result. gptq: the
    matrices of layers are solved with a text instead of searched for, where their types have evenly spaced levels.
    """

    target: str
    fit: Fit = "fast"
    overrides: tuple[Override, ...] = ()
    pure: bool = False
    allow_requantize: bool = False
    output_tensor_type: str = ""
    token_embedding_type: str = ""
    leave_output_tensor: bool = False
    strict: bool = False
    imatrix: str = ""
    include_weights: tuple[str, ...] = ()
    exclude_weights: tuple[str, ...] = ()
    override_kv: tuple[KeyOverride, ...] = ()
    keep_split: bool = False
    split_max_bytes: int = Field(default=0, ge=0)
    keep_unquantized: bool = False
    converter: str = ""
    prune_layers: tuple[Annotated[int, Field(ge=0)], ...] = ()
    gptq: GptqOptions | None = None


class PlanJob(Value):
    """Decides every tensor's type without computing anything. Answer: Plan.

    imatrix_to_come: the importance matrix that the options name is computed first, and has every matrix of the layers.
    """

    kind: Literal["plan"] = "plan"
    source: str
    options: QuantizeOptions
    imatrix_to_come: bool = False


class QuantizeJob(Value):
    """Plans, quantizes, measures, verifies, renames. Answer: QuantizeResult.

    resume: goes on with what an interrupted run of the same job left, where there is anything; otherwise that is
    replaced. keep_unfinished: what is done stays when the job is cancelled, so that it can be resumed.
    """

    kind: Literal["quantize"] = "quantize"
    source: str
    output: str
    options: QuantizeOptions
    threads: int = Field(default=0, ge=0, description="0 = all cores")
    device: Literal["cpu", "cuda"] = "cpu"
    resume: bool = False
    keep_unfinished: bool = False


class QuantizeManyJob(Value):
    """Several targets in one pass: the source is read once. Answer: QuantizeManyResult, in the order of `targets`.

    targets replaces the target of `options` and has an output for each. resume, keep_unfinished: as in QuantizeJob.
    """

    kind: Literal["quantize_many"] = "quantize_many"
    source: str
    targets: tuple[str, ...] = Field(min_length=1)
    outputs: tuple[str, ...] = Field(min_length=1)
    options: QuantizeOptions
    threads: int = Field(default=0, ge=0, description="0 = all cores")
    device: Literal["cpu", "cuda"] = "cpu"
    resume: bool = False
    keep_unfinished: bool = False

    @model_validator(mode="after")
    def _one_output_each(self) -> Self:
        if len(self.targets) != len(self.outputs):
            raise ValueError("there must be an output for every target")
        return self

    @property
    def jobs(self) -> tuple[QuantizeJob, ...]:
        """The same as jobs of one target each."""
        return tuple(
            QuantizeJob(
                source=self.source,
                output=output,
                options=self.options.model_copy(update={"target": target}),
                threads=self.threads,
                device=self.device,
                resume=self.resume,
                keep_unfinished=self.keep_unfinished,
            )
            for target, output in zip(self.targets, self.outputs, strict=True)
        )


class PreflightJob(Value):
    """What a quantization needs and what stands in its way, before it starts. Answer: PreflightResult.

    beside: other targets that the same job writes to the same disk. measure: types that were never timed on this
    machine are timed now (about a second each); else the time may stay unknown.
    """

    kind: Literal["preflight"] = "preflight"
    source: str
    output: str
    options: QuantizeOptions
    beside: tuple[str, ...] = ()
    threads: int = Field(default=0, ge=0)
    device: Literal["cpu", "cuda"] = "cpu"
    measure: bool = False


class VerifyJob(Value):
    """Re-opens a file with an independent reader. Answer: VerifyResult."""

    kind: Literal["verify"] = "verify"
    path: str


class CompareJob(Value):
    """Per-tensor error of `other` against `source`, any two formats. Answer: CompareResult."""

    kind: Literal["compare"] = "compare"
    source: str
    other: str


class TensorPlan(Value):
    """One row of a plan, written with the keys `from` and `to` for the two types.

    reason: why this type, in words. fallback: the wanted type did not fit the row length and another was taken.
    overridden: chosen by the user. rule: the user's regular expression that decided, "" where none did. weighted: an
    importance matrix says which of its columns matter.
    repacked: its weights lie on the target type's lattice already, so their codes are kept instead of searched for.
    lossless: so do its scales; both as far as the rows say that were looked at.
    """

    name: str
    shape: tuple[int, ...]
    source_type: str = Field(alias="from")
    target_type: str = Field(alias="to")
    elements: int
    source_bytes: int
    bytes: int
    bpw: float
    reason: str
    fallback: bool = False
    overridden: bool = False
    rule: str = ""
    weighted: bool = False
    repacked: bool = False
    lossless: bool = False


class Check(Value):
    """One step of a preflight. cause: what was found, a sentence. fix: what can be done about it, '' where nothing.

    error: cannot go on. risk: may go on. fine: nothing to say but what was found.
    """

    step: Literal["choice", "files", "architecture", "disk", "memory", "tensors", "licence", "running"]
    level: Literal["error", "risk", "fine"]
    cause: str
    fix: str = ""


class PreflightResult(Value):
    """The checks in the order of their steps; after an error that hides the rest, the rest is missing.

    bytes: of all output files, exact. memory_bytes: to quantize, an estimate. seconds: the same of the time, None where
    a type was never timed here; seconds_basis: past jobs that corrected it. 0 where a plan could not be made.
    """

    checks: tuple[Check, ...]
    bytes: int = 0
    memory_bytes: int = 0
    seconds: float | None = None
    seconds_basis: int = 0

    @property
    def worst(self) -> Literal["error", "risk", "fine"]:
        """The gravest level among the checks."""
        levels = {check.level for check in self.checks}
        return "error" if "error" in levels else "risk" if "risk" in levels else "fine"


class Plan(Value):
    """Everything decided before a byte is computed. bytes is the output file's exact size.

    preflight: what stands in its way, where the command line was asked for a plan.
    """

    source: str
    architecture: str
    target: str
    tensors: tuple[TensorPlan, ...]
    source_bytes: int
    bytes: int
    bits_per_weight: float
    memory_bytes: int
    fit: Fit = "fast"
    warnings: tuple[str, ...] = ()
    preflight: PreflightResult | None = None


class ErrorFigures(Value):
    """Error of a reconstruction y of x. relative_rmse = rmse / rms(x); snr_db = -20 log10(relative_rmse).

    snr_db is None where there is no error at all; cosine is None where x or y is all zero.
    """

    rmse: float
    relative_rmse: float
    snr_db: float | None
    max_error: float
    cosine: float | None


class TensorResult(Value):
    """One tensor after quantization, or after a comparison (then reason is '')."""

    name: str
    shape: tuple[int, ...]
    source_type: str = Field(alias="from")
    type: str
    elements: int
    source_bytes: int
    bytes: int
    bpw_before: float
    bpw: float
    rmse: float
    relative_rmse: float
    snr_db: float | None
    max_error: float
    cosine: float | None
    reason: str = ""
    fallback: bool = False


class LayerFigures(Value):
    """What a calibrated method made of one matrix.

    error: of its output on the calibration text, squared, over the output's square; rounded_error: the same of plain
    rounding. damp: the share of the mean that was added to the moments. guarded: rounding was better, and was taken.
    tokens: how many met it, of an expert those that chose it.
    """

    name: str
    layer: int
    error: float
    rounded_error: float
    damp: float = 0.0
    guarded: bool = False
    tokens: int = 0


def output_errors(layers: Sequence[LayerFigures]) -> str:
    """The errors of all matrices' outputs in a sentence; of at least one."""
    error, rounded = (math.fsum(getattr(row, name) for row in layers) for name in ("error", "rounded_error"))
    guarded = sum(row.guarded for row in layers)
    words = f"{100 * error / len(layers):.3g} % on average, {100 * rounded / len(layers):.3g} % by plain rounding"
    kept = f"; {guarded} of {len(layers)} matrices are rounded plainly, which was better for them" if guarded else ""
    return f"{words}{kept}"


class QuantizeResult(Value):
    """A finished quantization; errors are measured against the source as it was read.

    output: the file, or the first of its parts. sha256: of the file, or of all its parts one after another. layers: of
    a method that looked at a text, in the order of the layers. warnings: those of the plan.
    """

    source: str
    output: str
    target: str
    architecture: str
    source_bytes: int
    bytes: int
    bpw_before: float
    bpw: float
    seconds: float
    peak_memory_bytes: int
    sha256: str
    total: ErrorFigures
    tensors: tuple[TensorResult, ...]
    layers: tuple[LayerFigures, ...] = ()
    warnings: tuple[str, ...] = ()


class QuantizeManyResult(Value):
    """Finished quantizations of one source, in the order asked for; each took the seconds of the whole pass."""

    results: tuple[QuantizeResult, ...]


class VerifyResult(Value):
    """What an independent reader found in a file that is in order."""

    path: str
    tensors: int
    types: dict[str, int]
    parameters: int
    bytes: int
    sha256: str


class CompareResult(Value):
    """Per-tensor error of `other` against `source`; missing names tensors only one of them has."""

    source: str
    other: str
    total: ErrorFigures
    tensors: tuple[TensorResult, ...]
    missing: tuple[str, ...] = ()


def results_of(answer: Value | None) -> tuple[QuantizeResult, ...]:
    """The finished quantizations in an answer, one for each target; none in another answer."""
    if isinstance(answer, QuantizeManyResult):
        return answer.results
    return (answer,) if isinstance(answer, QuantizeResult) else ()
