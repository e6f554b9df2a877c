"""Estimating what a model takes to run, and the answer."""

from __future__ import annotations

from typing import Literal

from core.estimate.values import Machine, ModelFacts, RunEstimate, RunOptions, Verdict
from core.jobs.quantizing import QuantizeOptions
from core.values import Value


class EstimateJob(Value):
    """How much memory a model takes to run, and what `options` would make of it, from headers. Answer: EstimateResult.

    auto_layers: as many layers on the GPUs as fit, whatever `run` says; without a GPU, none.
    """

    kind: Literal["estimate"] = "estimate"
    source: str
    run: RunOptions = RunOptions()
    options: QuantizeOptions | None = None
    auto_layers: bool = False


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
