"""Whether a model fits a machine, how many layers fit a GPU, and the longest context that fits; in numbers and words.

Memory grows with layers on the GPU and with the context, so both are found by bisection. This module is light.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.errors import size
from core.estimate.running import estimate_run, places
from core.estimate.values import DeviceMemory, Machine, ModelFacts, RunEstimate, RunOptions, Verdict

MARGIN = 1 << 30
STEP = 256
LONGEST = 1 << 20


def free_bytes(device: DeviceMemory, machine: Machine) -> int | None:
    """What is free on an estimate's device, None where this machine does not have it."""
    if device.kind == "host":
        return machine.free
    number = int(device.name.removeprefix("GPU") or 0)
    return machine.gpus[number].free if number < len(machine.gpus) else None


def spare_bytes(estimate: RunEstimate, machine: Machine) -> int | None:
    """Bytes left on the tightest device (negative: too little), None where a device is missing."""
    left = [(free_bytes(device, machine), device.total) for device in estimate.devices]
    if any(free is None for free, _ in left):
        return None
    return min(free - total for free, total in left if free is not None)


def verdict(estimate: RunEstimate, machine: Machine, margin: int = MARGIN) -> Verdict:
    """The answer in words: 'Fits, 2.1 GiB to spare'."""
    spare = spare_bytes(estimate, machine)
    if spare is None:
        return Verdict(level="not", spare=0, words="This computer has no such GPU")
    if spare < 0:
        return Verdict(level="not", spare=spare, words=f"Does not fit: {size(-spare)} too little")
    if not estimate.complete:
        words = f"Its weights fit, {size(spare)} to spare; what it needs beside them is not known"
        return Verdict(level="unknown", spare=spare, words=words)
    if spare < margin:
        return Verdict(level="tight", spare=spare, words=f"Fits, with only {size(spare)} to spare")
    return Verdict(level="fits", spare=spare, words=f"Fits, {size(spare)} to spare")


def layers_that_fit(
    facts: ModelFacts, options: RunOptions, machine: Machine, margin: int = MARGIN, corrected_by: int = 0
) -> int:
    """How many layers, from the last, fit on this machine's GPUs, the output layer counting as one; 0 without GPUs."""
    if not machine.gpus:
        return 0
    split = tuple(float(max(gpu.free - margin, 0)) for gpu in machine.gpus)
    if not any(split):
        return 0

    def fits(layers: int) -> bool:
        tried = options.model_copy(update={"gpu_layers": layers, "split": split})
        devices = [device for device in estimate_run(facts, tried, corrected_by).devices if device.kind == "gpu"]
        return all(device.total + margin <= (free_bytes(device, machine) or 0) for device in devices)

    return _largest(fits, len(facts.layers) + 1)


def longest_context(
    facts: ModelFacts, options: RunOptions, machine: Machine, margin: int = MARGIN, corrected_by: int = 0
) -> int:
    """The longest context in steps of 256 that fits and the model was trained for; 0 where none does or none is known.

    Where memory does not grow with the context, what the model was trained for.
    """
    if not facts.known:
        return 0

    def fits(steps: int) -> bool:
        tried = options.model_copy(update={"context": steps * STEP})
        spare = spare_bytes(estimate_run(facts, tried, corrected_by), machine)
        return spare is not None and spare >= margin

    return STEP * _largest(fits, max((facts.context_length or LONGEST) // STEP, 1))


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, where everything below a fitting one fits too; 0 where 1 does not."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def layer_words(facts: ModelFacts, options: RunOptions) -> str:
    """'18 of 32 layers on the GPU', or '' where none is or can be told."""
    where: Sequence[int | None] = places(facts, options)[:-1]
    on_gpu = sum(place is not None for place in where)
    return f"{on_gpu} of {len(where)} layers on the GPU" if on_gpu else ""
