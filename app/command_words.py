"""The words of the command line that runs a job, without the program: what app.cli parses, said the other way round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.cli_gptq import GPTQ_OPTIONS
from core.jobs import (
    CheckpointJob,
    CheckpointManyJob,
    DownloadJob,
    EvaluateJob,
    GptqOptions,
    ImatrixJob,
    MethodOptions,
    MethodRule,
    QuantizeJob,
    QuantizeManyJob,
    QuantizeOptions,
    SensitivityJob,
    UploadJob,
)
from core.methods.table import GROUP_NAMES
from core.recipe_file import part_words


def quantize(job: QuantizeJob) -> list[str]:
    """`quantize` to one type."""
    return ["quantize", job.source, "--to", job.options.target, "--out", job.output, *_common(job)]


def quantize_many(job: QuantizeManyJob) -> list[str]:
    """`quantize` to several types, into the folder in which every file is named after its type (output_name)."""
    folder = str(Path(job.outputs[0]).parent)
    return ["quantize", job.source, "--to", ",".join(job.targets), "--out", folder, *_common(job)]


def checkpoint(job: CheckpointJob) -> list[str]:
    """`quantize --method`; of one form of several that were made together, the command that makes them all."""
    options = job.options
    if not options.beside:
        return _checkpoint(job, job.output, options.export)
    return _checkpoint(job, str(Path(job.output).parent), ",".join((options.export, *options.beside)))


def checkpoint_many(job: CheckpointManyJob) -> list[str]:
    """`quantize --method` with several forms."""
    return _checkpoint(job, job.output, ",".join(job.exports))


def _checkpoint(job: CheckpointJob | CheckpointManyJob, output: str, forms: str) -> list[str]:
    return ["quantize", job.source, "--out", output, *_method_words(job.options, forms), *_threads(job), *_device(job)]


def imatrix(job: ImatrixJob) -> list[str]:
    """`imatrix`."""
    words = ["imatrix", job.source, "--out", job.output, *_repeated("--text", job.text), *_windows(job)]
    words += ["--process-output"] if job.process_output else []
    return words + _threads(job) + _device(job)


def evaluate(job: EvaluateJob) -> list[str]:
    """`evaluate`."""
    words = ["evaluate", *job.models, "--against", job.source]
    words += _repeated("--text", job.text) + _repeated("--category", job.categories)
    words += ["--as-run"] if job.as_run else []
    return words + _windows(job) + _threads(job) + _device(job)


def sensitivity(job: SensitivityJob) -> list[str]:
    """`sensitivity`."""
    options = job.options
    words = ["sensitivity", job.source, "--to", options.target, "--by", job.by, "--fit", options.fit]
    words += [*(["--pure"] if options.pure else []), *(["--imatrix", options.imatrix] if options.imatrix else [])]
    words += _repeated("--text", job.text) + _repeated("--category", job.categories)
    return [*words, "--context", str(job.context), "--chunks", str(job.chunks), *_threads(job), *_device(job)]


def download(job: DownloadJob) -> list[str]:
    """`download`."""
    words = ["download", job.repo, "--revision", job.revision, *_repeated("--include", job.include)]
    words += ["--out", job.output] if job.output else []
    words += ["--limit-rate", part_words(job.limit)] if job.limit else []
    return [*words, "--connections", str(job.connections)]


def upload(job: UploadJob) -> list[str]:
    """`upload`, without a card that was changed by hand, which no command line holds."""
    words = ["upload", job.source, job.repo, "--private" if job.private else "--public", "--revision", job.revision]
    words += _repeated("--include", job.include)
    for name in ("base", "license", "message"):
        words += [_option(name), getattr(job, name)] if getattr(job, name) else []
    return [*words, "--connections", str(job.connections)]


# ---------------------------------------------------------------- pieces


def _common(job: QuantizeJob | QuantizeManyJob) -> list[str]:
    return _option_words(job.options) + _threads(job) + _device(job)


def _option_words(options: QuantizeOptions) -> list[str]:
    words: list[str] = []
    for override in options.overrides:
        words += ["--tensor-type", f"{override.tensor}={override.type}"]
    for entry in options.override_kv:
        words += ["--override-kv", f"{entry.key}={entry.type}:{entry.value}"]
    for name in ("output_tensor_type", "token_embedding_type", "imatrix", "converter"):
        words += [_option(name), getattr(options, name)] if getattr(options, name) else []
    for name in ("include_weights", "exclude_weights"):
        words += _repeated(_option(name), getattr(options, name))
    if options.prune_layers:
        words += ["--prune-layers", ",".join(map(str, options.prune_layers))]
    words += ["--fit", options.fit] if options.fit != "fast" else []
    if options.split_max_bytes:
        words += ["--split-max-size", part_words(options.split_max_bytes)]
    if options.gptq is not None:
        words += ["--method", "gptq", *_repeated("--text", options.gptq.text), *_gptq_words(options.gptq)]
        words += _looked_at(options.gptq)
    flags = ("leave_output_tensor", "pure", "strict", "allow_requantize", "keep_split", "keep_unquantized")
    return words + [_option(name) for name in flags if getattr(options, name)]


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _threads(job: Any) -> list[str]:
    return ["--threads", str(job.threads)] if job.threads else []


def _device(job: Any) -> list[str]:
    return ["--device", job.device] if job.device != "cpu" else []


def _windows(job: ImatrixJob | EvaluateJob) -> list[str]:
    return ["--context", str(job.context), *(["--chunks", str(job.chunks)] if job.chunks else [])]


def _looked_at(options: GptqOptions | MethodOptions) -> list[str]:
    return ["--samples", str(options.samples), *(["--length", str(options.length)] if options.length else [])]


def _repeated(option: str, values: tuple[str, ...]) -> list[str]:
    return [word for value in values for word in (option, value)]


def _method_words(options: MethodOptions, forms: str) -> list[str]:
    words = ["--method", options.method, "--export", forms]
    words += ["--bits", str(options.bits)] if options.bits else []
    words += ["--group", GROUP_NAMES.get(options.group, str(options.group))] if options.group is not None else []
    words += [f"--range={_range(options)}"] if options.range else []  # as one word: it may begin with a minus
    words += ["--imatrix", options.imatrix] if options.imatrix else []
    words += _repeated("--skip", options.skip) + _repeated("--text", options.text)
    words += [word for rule in options.rules for word in ("--rule", _rule(rule))]
    words += _looked_at(options)
    words += ["--activations", options.activations] if options.activations else []
    words += ["--activation-range", _activation_range(options)] if options.activation_range else []
    words += ["--prestep", options.prestep] if options.prestep else []
    words += ["--alpha", str(options.alpha)] if options.alpha != MethodOptions.model_fields["alpha"].default else []
    words += _gptq_words(options)
    flags = ("asymmetric", "restricted", "double_quant")
    return words + [_option(name) for name in flags if getattr(options, name)]


def _rule(rule: MethodRule) -> str:
    """A rule as `--rule` takes it."""
    if rule.keep:
        return f"{rule.pattern}=keep"
    parts = [f"bits={rule.bits}"] if rule.bits else []
    parts += [f"group={GROUP_NAMES.get(rule.group, str(rule.group))}"] if rule.group is not None else []
    parts += [] if rule.asymmetric is None else ["asymmetric" if rule.asymmetric else "symmetric"]
    parts += [] if rule.activations is None else [rule.activations or "weights-only"]
    return f"{rule.pattern}={':'.join(filter(None, (rule.method, ','.join(parts))))}"


def _activation_range(options: MethodOptions) -> str:
    rule = options.activation_range
    return f"percentile:{options.activation_percentile}" if rule == "percentile" else rule


def _gptq_words(options: MethodOptions | GptqOptions) -> list[str]:
    """What differs from what is usual."""
    return [
        word
        for name, option in GPTQ_OPTIONS.items()
        if (value := getattr(options, name)) != type(options).model_fields[name].default
        for word in (_option(option), str(value))
    ]


def _range(options: MethodOptions) -> str:
    match options.range:
        case "percentile":
            return f"percentile:{options.percentile}"
        case "given":
            return f"{options.range_low}:{options.range_high}"
        case rule:
            return rule
