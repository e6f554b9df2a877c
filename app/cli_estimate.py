"""The command `estimate` and what `plan` and `quantize` say beforehand: arguments, jobs and plain text; no Qt."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import get_args

from app.cli_options import count
from app.cli_text import duration, facts, plan, table
from core.errors import size
from core.estimate.fitting import layer_words
from core.estimate.values import CacheType, RunEstimate, RunOptions, Runtime
from core.jobs import Check, EstimateResult, FormEstimate, Plan, PreflightResult

MARKS = {"error": "error", "risk": "note", "fine": "ok"}
PARTS = ("weights", "cache", "state", "compute", "overhead", "total")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """How the model is to be run."""
    caches = get_args(CacheType)
    parser.add_argument("--context", type=count, default=4096, metavar="N", help="tokens; 0: all it was trained for")
    parser.add_argument("--cache-type", choices=caches, default="f16", help="of cached keys and values (f16)")
    parser.add_argument("--cache-type-k", choices=caches, help="of cached keys alone")
    parser.add_argument("--cache-type-v", choices=caches, help="of cached values alone")
    parser.add_argument("--gpu-layers", type=count, metavar="N", help="layers on the GPU; as many as fit, if not given")
    parser.add_argument("--split", type=shares, default=(1.0,), metavar="A,B", help="shares of several GPUs")
    parser.add_argument("--experts-on-cpu", action="store_true", help="a mixture's experts stay off the GPU")
    parser.add_argument("--sequences", type=count, default=1, metavar="N", help="texts at a time (1)")
    parser.add_argument("--batch", type=count, default=512, metavar="N", help="tokens read at a time (512)")
    parser.add_argument("--no-flash-attention", action="store_true", help="attention as separate steps")
    parser.add_argument("--swa-full", action="store_true", help="cache sliding windows whole")
    parser.add_argument("--runtime", choices=get_args(Runtime), help="llama.cpp for .gguf, else transformers")
    parser.add_argument("--backend", choices=("cpu", "cuda", "vulkan", "metal"), help="of the GPU (cuda)")


def shares(argument: str) -> tuple[float, ...]:
    """'3,1' as numbers. Raises what argparse turns into a message."""
    try:
        found = tuple(float(part) for part in argument.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 0 or not sum(found) < float("inf") or sum(found) <= 0:
        raise argparse.ArgumentTypeError(f"{argument} is no list of shares such as 3,1")
    return found


def run_options(options: argparse.Namespace) -> RunOptions:
    """The value of these arguments. Raises ValidationError for numbers out of range."""
    layers = options.gpu_layers or 0
    return RunOptions(
        runtime=options.runtime,
        backend=options.backend or ("cuda" if layers or options.runtime == "vllm" else "cpu"),
        context=options.context,
        cache_type_k=options.cache_type_k or options.cache_type,
        cache_type_v=options.cache_type_v or options.cache_type,
        sequences=options.sequences,
        batch=options.batch,
        flash_attention=not options.no_flash_attention,
        full_window=options.swa_full,
        gpu_layers=layers,
        split=options.split,
        experts_on_cpu=options.experts_on_cpu,
    )


def estimated(result: EstimateResult) -> str:
    """The answer of `estimate`."""
    forms = [("As it is", result.now)] + ([("After quantization", result.after)] if result.after else [])
    machine = result.machine
    gpus = ", ".join(f"{gpu.name} ({size(gpu.free)} of {size(gpu.total)} free)" for gpu in machine.gpus)
    about = facts(
        ("Model", result.now.facts.name),
        ("This computer", f"{size(machine.free)} of {size(machine.total)} free"),
        ("GPU", gpus or "none found"),
        ("Corrected by", f"{size(result.overhead_correction)}, from past loads" if result.overhead_correction else ""),
    )
    return "\n\n".join([about, *(_form(title, form) for title, form in forms)])


def _form(title: str, form: FormEstimate) -> str:
    memory = form.memory
    lines = [f"{title}, in {memory.runtime} at {memory.context} tokens of context", _devices(memory)]
    options = RunOptions(gpu_layers=form.gpu_layers)
    layers = layer_words(form.facts, options)
    lines.append(form.verdict.words + (f"; {layers}" if layers else "") + ".")
    if form.longest_context:
        lines.append(f"The longest context that fits with 1 GiB to spare: {form.longest_context} tokens.")
    return "\n".join([*lines, *memory.assumptions])


def _devices(memory: RunEstimate) -> str:
    rows = [(device.name, *(size(getattr(device, part)) for part in PARTS)) for device in memory.devices]
    return table(("memory", *PARTS), rows, " rrrrrr")


def planned(made: Plan, shown: Callable[[Plan], str] = plan) -> str:
    """The answer of `plan`, with its preflight. shown: the words for the plan itself."""
    below = [checked(made.preflight)] if made.preflight else []
    return "\n\n".join([shown(made), *below])


def checked(result: PreflightResult) -> str:
    """What a preflight found, below a plan: a line for each step, then what it takes."""
    lines = [f"{MARKS[check.level]:<5}  {_sentence(check)}" for check in result.checks]
    return "\n".join([*lines, *([_needs(result)] if result.memory_bytes else [])])


def looked(result: PreflightResult) -> str:
    """What a preflight found of a job without a plan, and what it needs."""
    memory = f"Memory: about {size(result.memory_bytes)} (estimate)"
    return checked(result) + (f"\n{memory}" if result.memory_bytes else "")


def risks(result: PreflightResult) -> list[str]:
    """The risks alone, a line each."""
    return [_sentence(check) for check in result.checks if check.level == "risk"]


def _sentence(check: Check) -> str:
    fix = f" {check.fix.rstrip('.')}." if check.fix and check.level != "fine" else ""
    return f"{check.cause.rstrip('.')}.{fix}"


def _needs(result: PreflightResult) -> str:
    if result.seconds is None:
        return "Time: not known, no job of this kind was timed yet"
    basis = f"corrected by {result.seconds_basis} past jobs" if result.seconds_basis else "from a short measurement"
    return f"Time: about {duration(result.seconds)} (estimate, {basis})"
