"""What can be asked of the engine and what it answers, as frozen values that travel as JSON.

This module is light: pydantic and the standard library only. The same job value runs from the window, the command
line and a test. Shapes are in numpy order everywhere: the last number is the row length (llama.cpp prints them
reversed). Sizes are bytes, times are seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from core.estimate.values import CacheType, Machine, ModelFacts, RunEstimate, RunOptions, Verdict
from core.values import Value as Value

# ---------------------------------------------------------------- questions and jobs


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


class QuantizeOptions(Value):
    """Which types are wanted. `target` is a mix (Q4_K_M), a type (Q8_0) or COPY, as llama-quantize calls them.

    pure: every quantizable tensor gets the mix's base type. allow_requantize: accept a quantized source.
    output_tensor_type, token_embedding_type: for these two tensors, "" = what the mix says. leave_output_tensor: the
    output layer stays as it is. strict: a type that does not fit is an error. imatrix: path of an importance matrix,
    "" = none; include_weights and exclude_weights: parts of names of the tensors it is used, or not used, for.
    override_kv: metadata of the output. keep_split: as many files as the source has. split_max_bytes: as many files
    as are needed for none to be larger, 0 = one file. fit: how hard the codes of every type are searched for;
    "reference" writes the bytes that llama-quantize would, "best" looks farther than it does and takes longer.
    prune_layers: the numbers of layers that are dropped; names in the other options are those of the result.
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
    converter: str = ""
    prune_layers: tuple[Annotated[int, Field(ge=0)], ...] = ()


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


class MethodOptions(Value):
    """Which checkpoint is wanted: a method and a form of core.methods.table.

    bits: 0 = the method's own. group: 0 = one scale for the tensor, -1 = for each row, None = the method's own.
    restricted: of symmetric integers, leave the lowest out. range: how much of the weights a scale covers, "" = search
    by error up to 4 bits, all of it above; percentile, range_low and range_high belong to two of these.
    double_quant: scales of NF4 and FP4 in 8 bits. dynamic: 8-bit activations, each token by its largest. imatrix: path
    of an importance matrix for the search by error, "" = none. skip: regular expressions of names that stay as they
    are. text: files that a calibrated method looks at, () = the program's own; samples: at most so many windows of
    `length` tokens.
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
    dynamic: bool = False
    imatrix: str = ""
    skip: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    samples: int = Field(default=128, ge=1)
    length: int = Field(default=512, ge=16)


class CheckpointPlanJob(Value):
    """Decides everything about a checkpoint without computing anything. Answer: Plan."""

    kind: Literal["checkpoint_plan"] = "checkpoint_plan"
    source: str
    options: MethodOptions


class CheckpointJob(Value):
    """Quantizes a Hugging Face folder into a checkpoint, a folder `output`. Answer: QuantizeResult."""

    kind: Literal["checkpoint"] = "checkpoint"
    source: str
    output: str
    options: MethodOptions
    threads: int = Field(default=0, ge=0, description="0 = all cores")


class EstimateJob(Value):
    """How much memory a model takes to run, and what `options` would make of it, from headers. Answer: EstimateResult.

    auto_layers: as many layers on the GPUs as fit, whatever `run` says; without a GPU, none.
    """

    kind: Literal["estimate"] = "estimate"
    source: str
    run: RunOptions = RunOptions()
    options: QuantizeOptions | None = None
    auto_layers: bool = False


class PreflightJob(Value):
    """What a quantization needs and what stands in its way, before it starts. Answer: PreflightResult.

    measure: types that were never timed on this machine are timed now (about a second each); else the time may stay
    unknown.
    """

    kind: Literal["preflight"] = "preflight"
    source: str
    output: str
    options: QuantizeOptions
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


class Sampling(Value):
    """Sampling settings of one answer. seed -1 = a new one each time."""

    temperature: float = Field(default=0.7, ge=0, le=5)
    top_p: float = Field(default=0.95, gt=0, le=1)
    top_k: int = Field(default=40, ge=0)
    max_tokens: int = Field(default=512, ge=1)
    seed: int = -1


class Message(Value):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatJob(Value):
    """One prompt to one model, and to `against` too where given. Answer: ChatResult.

    By default the likeliest token is always taken, so that two models are compared and not two draws.
    """

    kind: Literal["chat"] = "chat"
    model: str
    against: str | None = None
    prompt: str
    system: str = ""
    sampling: Sampling = Sampling(temperature=0)
    context: int = Field(default=2048, ge=64)
    threads: int = Field(default=0, ge=0)
    cache_type: CacheType = "f16"


class ChatSessionJob(Value):
    """A model held loaded for a conversation; driven over the worker's pipe (see core.worker)."""

    kind: Literal["chat_session"] = "chat_session"
    model: str
    context: int = Field(default=2048, ge=64)
    threads: int = Field(default=0, ge=0)
    cache_type: CacheType = "f16"


class ImatrixJob(Value):
    """Computes an importance matrix from text and writes it as GGUF. Answer: ImatrixResult.

    text: paths of text files, () = the calibration text that comes with the program. output: an existing folder, or
    the file itself. context: tokens of one window. chunks: how many windows at most, 0 = all that the text gives.
    process_output: the output layer gets an entry, too.
    """

    kind: Literal["imatrix"] = "imatrix"
    source: str
    output: str
    text: tuple[str, ...] = ()
    context: int = Field(default=512, ge=16)
    chunks: int = Field(default=0, ge=0)
    process_output: bool = False
    threads: int = Field(default=0, ge=0, description="0 = all cores")
    device: Literal["cpu", "cuda"] = "cpu"


class SearchJob(Value):
    """Finds models on the Hub. Answer: SearchResult.

    format: only models that have files of it. limit: at most so many.
    """

    kind: Literal["search"] = "search"
    query: str
    author: str = ""
    format: Literal["", "gguf", "safetensors"] = ""
    sort: Literal["downloads", "likes", "last_modified"] = "downloads"
    limit: int = Field(default=20, ge=1, le=1000)


class DownloadJob(Value):
    """Downloads a model from the Hub, going on where an earlier download stopped. Answer: DownloadResult.

    include: patterns of names, () = what a quantization needs. output: a folder for the files, "" = the cache that all
    programs on this computer share. limit: bytes per second, 0 = as fast as it goes.
    """

    kind: Literal["download"] = "download"
    repo: str
    revision: str = "main"
    include: tuple[str, ...] = ()
    output: str = ""
    connections: int = Field(default=4, ge=1, le=16)
    limit: int = Field(default=0, ge=0)


# The kinds of the texts in resources/evaluation.
Category = Literal["chat", "code", "languages", "prose"]
# So many windows, one of each kind, for a quick look.
QUICK_CHUNKS = 4


class EvaluateJob(Value):
    """Measures how far `models` have gone from `source` on a text. Answer: EvaluateResult.

    text: paths of text files, () = the evaluation texts that come with the program, of which `categories` chooses, () =
    all. context: tokens of one window, of which the second half is scored. chunks: how many windows at most, 0 = all
    that the texts give.
    """

    kind: Literal["evaluate"] = "evaluate"
    source: str
    models: tuple[str, ...] = Field(min_length=1)
    text: tuple[str, ...] = ()
    categories: tuple[Category, ...] = ()
    context: int = Field(default=512, ge=16)
    chunks: int = Field(default=0, ge=0)
    threads: int = Field(default=0, ge=0, description="0 = all cores")
    device: Literal["cpu", "cuda"] = "cpu"


Job = Annotated[
    InspectJob
    | ScanJob
    | TensorStatsJob
    | PlanJob
    | QuantizeJob
    | QuantizeManyJob
    | CheckpointPlanJob
    | CheckpointJob
    | EstimateJob
    | PreflightJob
    | VerifyJob
    | CompareJob
    | ChatJob
    | ChatSessionJob
    | ImatrixJob
    | SearchJob
    | DownloadJob
    | EvaluateJob,
    Field(discriminator="kind"),
]
JOB: TypeAdapter[Job] = TypeAdapter(Job)


def outputs_of(job: Value) -> tuple[str, ...]:
    """The paths that a job writes; none for one that only answers."""
    if isinstance(job, QuantizeManyJob):
        return job.outputs
    output = getattr(job, "output", "")
    return (output,) if output else ()


# ---------------------------------------------------------------- answers


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


class QuantizeResult(Value):
    """A finished quantization; errors are measured against the source as it was read.

    output: the file, or the first of its parts. sha256: of the file, or of all its parts one after another.
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


class QuantizeManyResult(Value):
    """Finished quantizations of one source, in the order asked for; each took the seconds of the whole pass."""

    results: tuple[QuantizeResult, ...]


class ImatrixTensor(Value):
    """Coverage of one weight matrix, or of one for each expert. shape: (matrices, columns).

    tokens: how many activations were summed, over all experts. fewest, most: of the experts. unused: experts that no
    token met. rare: experts (the unused among them) that met so few that their importance is blended with that of all
    when the file is used (core.imatrix).
    """

    name: str
    shape: tuple[int, int]
    tokens: int
    fewest: int
    most: int
    unused: int = 0
    rare: int = 0


class ImatrixResult(Value):
    """A finished importance matrix. output: the file. datasets: what it was computed from, by name.

    tokens: chunks times context. warnings: what the user should know, one sentence each.
    """

    source: str
    output: str
    architecture: str
    datasets: tuple[str, ...]
    context: int
    chunks: int
    tokens: int
    seconds: float
    peak_memory_bytes: int
    tensors: tuple[ImatrixTensor, ...]
    warnings: tuple[str, ...] = ()


class EvaluationFigures(Value):
    """llama-perplexity's figures under its names (core.evaluation.statistics): NAME_error is one standard error.

    tokens: how many were scored. ppl: perplexity, ppl_base: the source's. ln_ratio: ln(ppl / ppl_base). kld: Kullback-
    Leibler divergence KL(source || model) of a token in nats, with its percentiles over tokens. dp: change of the
    probability of the token that came, in percent. same_top_p: how often both find the same token likeliest, in
    percent; so is ppl_correlation, of the two logarithms of perplexities.
    """

    tokens: int
    ppl: float
    ppl_error: float
    ppl_base: float
    ppl_base_error: float
    ppl_correlation: float
    ln_ratio: float
    ln_ratio_error: float
    ppl_ratio: float
    ppl_ratio_error: float
    ppl_difference: float
    ppl_difference_error: float
    mean_kld: float
    mean_kld_error: float
    max_kld: float
    kld_99_9: float
    kld_99: float
    kld_95: float
    kld_90: float
    median_kld: float
    kld_10: float
    kld_5: float
    kld_1: float
    kld_0_1: float
    min_kld: float
    mean_dp: float
    mean_dp_error: float
    max_dp: float
    dp_99_9: float
    dp_99: float
    dp_95: float
    dp_90: float
    dp_75: float
    median_dp: float
    dp_25: float
    dp_10: float
    dp_5: float
    dp_1: float
    dp_0_1: float
    min_dp: float
    rms_dp: float
    rms_dp_error: float
    same_top_p: float
    same_top_p_error: float


class CategoryEvaluation(EvaluationFigures):
    """The figures of one kind of text, or of one of the user's files (then its path)."""

    category: str


class Disagreement(Value):
    """A token where model and source disagree much, with the text around it, which is cut at tokens.

    window, position: which token of which window. kld: in nats. p, p_base: the probability, 0 to 1, that the model and
    the source gave the token that came. top, top_base: the token that each found likeliest.
    """

    category: str
    window: int
    position: int
    before: str
    token: str
    after: str
    kld: float
    p: float
    p_base: float
    top: str
    top_base: str


class ModelEvaluation(EvaluationFigures):
    """One model's figures over all tokens and by category. bytes: of its files. disagreements: the largest first."""

    model: str
    bytes: int
    categories: tuple[CategoryEvaluation, ...]
    disagreements: tuple[Disagreement, ...]


class EvaluateResult(Value):
    """A finished evaluation, its models in the order asked. datasets: the texts read, by name.

    chunks: windows read. tokens: scored in them. warnings: what the user should know, one sentence each.
    """

    source: str
    source_bytes: int
    architecture: str
    datasets: tuple[str, ...]
    context: int
    chunks: int
    tokens: int
    seconds: float
    peak_memory_bytes: int
    models: tuple[ModelEvaluation, ...]
    warnings: tuple[str, ...] = ()


class FormEstimate(Value):
    """One form of a model, as it is or as it will be: what it takes to run, and what of it fits this machine.

    gpu_layers: on the GPUs in this estimate, the output layer counting as one. longest_context: that fits, 0 = none.
    """

    facts: ModelFacts
    memory: RunEstimate
    verdict: Verdict
    gpu_layers: int
    longest_context: int


class EstimateResult(Value):
    """A model's estimate, and that of what the options would make of it, on the machine as it is now.

    overhead_correction: bytes that real loads on this machine took more than the table of overheads says.
    """

    source: str
    now: FormEstimate
    after: FormEstimate | None = None
    machine: Machine
    overhead_correction: int = 0


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


class ChatTurn(Value):
    """One model's answer and what it took. memory_bytes is the chat process' resident memory.

    predicted_bytes: what the estimate said of it before the model was loaded, 0 = nothing.

    tokens_per_second counts the answer alone, not the reading of the prompt; 0 where there was too little to measure.
    finish: the model ended its answer, or it reached the longest length allowed, or the user stopped it.
    note: what the user should know about this answer, or "".
    """

    model: str
    text: str
    tokens: int
    tokens_per_second: float
    load_seconds: float
    memory_bytes: int
    predicted_bytes: int = 0
    finish: Literal["end", "length", "stopped"] = "end"
    note: str = ""


class ChatResult(Value):
    """The answers in the order of the models asked: the model, then `against`."""

    prompt: str
    turns: tuple[ChatTurn, ...]


class ChatLoaded(Value):
    """A chat session is ready. context: tokens, at most what the model was trained for. note: as in ChatTurn.

    memory_bytes: resident memory after loading; predicted_bytes: what the estimate said of it before, 0 = nothing.
    """

    model: str
    load_seconds: float
    memory_bytes: int
    predicted_bytes: int = 0
    context: int
    note: str = ""


class HubModel(Value):
    """A model as a search finds it. parameters: None where the Hub does not say. modified: ISO date, or ''."""

    repo: str
    downloads: int = 0
    likes: int = 0
    modified: str = ""
    task: str = ""
    library: str = ""
    license: str = ""
    gated: bool = False
    formats: tuple[str, ...] = ()
    parameters: int | None = None


class SearchResult(Value):
    """The models found, in the order asked for."""

    query: str
    endpoint: str
    models: tuple[HubModel, ...]


class DownloadedFile(Value):
    """A file that is complete and checked. fetched: bytes that came over the network for it now."""

    name: str
    bytes: int
    fetched: int


class SkippedFile(Value):
    """A file of the repository that was left there, and why."""

    name: str
    bytes: int
    reason: str


class DownloadResult(Value):
    """A downloaded model. folder: where it is, ready to be a source. fetched: bytes that came over the network."""

    repo: str
    revision: str
    commit: str
    folder: str
    files: tuple[DownloadedFile, ...]
    skipped: tuple[SkippedFile, ...]
    bytes: int
    fetched: int
    seconds: float


def results_of(answer: Value | None) -> tuple[QuantizeResult, ...]:
    """The finished quantizations in an answer, one for each target; none in another answer."""
    if isinstance(answer, QuantizeManyResult):
        return answer.results
    return (answer,) if isinstance(answer, QuantizeResult) else ()


Result = (
    ModelSummary
    | ScanResult
    | TensorStats
    | Plan
    | QuantizeResult
    | QuantizeManyResult
    | EstimateResult
    | PreflightResult
    | VerifyResult
    | CompareResult
    | ChatResult
    | ImatrixResult
    | SearchResult
    | DownloadResult
    | EvaluateResult
)

RESULT_TYPES: dict[str, type[Value]] = {
    "inspect": ModelSummary,
    "scan": ScanResult,
    "tensor_stats": TensorStats,
    "plan": Plan,
    "quantize": QuantizeResult,
    "quantize_many": QuantizeManyResult,
    "checkpoint_plan": Plan,
    "checkpoint": QuantizeResult,
    "estimate": EstimateResult,
    "preflight": PreflightResult,
    "verify": VerifyResult,
    "compare": CompareResult,
    "chat": ChatResult,
    "imatrix": ImatrixResult,
    "search": SearchResult,
    "download": DownloadResult,
    "evaluate": EvaluateResult,
}
