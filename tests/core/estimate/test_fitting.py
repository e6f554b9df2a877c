"""What fits: verdicts in words, layers on a GPU, and the longest context; each against the estimate it is made from."""

from __future__ import annotations

import pytest

from core.estimate.fitting import MARGIN, layers_that_fit, longest_context, spare_bytes, verdict
from core.estimate.machine import parse_gpus
from core.estimate.overhead import Load, correction, host_overhead
from core.estimate.running import estimate_run
from core.estimate.values import Gpu, Layer, Machine, ModelFacts, RunOptions

GIB = 1 << 30
FACTS = ModelFacts(
    source="m.gguf",
    name="M",
    form="gguf",
    architecture="llama",
    embedding_bytes=GIB // 4,
    output_bytes=GIB // 4,
    other_bytes=0,
    layers=(Layer(bytes=GIB // 4, key_width=1024, value_width=1024),) * 32,
    heads=32,
    head_length=128,
    embedding_length=4096,
    feed_forward_length=14336,
    vocabulary=128256,
    context_length=131072,
)
UNKNOWN = FACTS.model_copy(update={"problem": "The architecture x is not known here"})


def machine(free: float, *gpus: float) -> Machine:
    found = tuple(Gpu(name="G", total=round(gpu * GIB), free=round(gpu * GIB)) for gpu in gpus)
    return Machine(total=round(64 * GIB), free=round(free * GIB), gpus=found)


@pytest.mark.parametrize(
    ("facts", "free", "level", "words"),
    [
        (FACTS, 16, "fits", "Fits, "),
        (FACTS, 9.8, "tight", "Fits, with only "),
        (FACTS, 8, "not", "Does not fit: "),
        (UNKNOWN, 16, "unknown", "Its weights fit, "),
        (UNKNOWN, 8, "not", "Does not fit: "),
    ],
)
def test_verdicts(facts: ModelFacts, free: float, level: str, words: str) -> None:
    estimate = estimate_run(facts, RunOptions(context=4096))
    found = verdict(estimate, machine(free))
    assert (found.level, found.words.startswith(words)) == (level, True), found.words
    assert found.spare == machine(free).free - estimate.total


def test_a_gpu_that_is_not_there() -> None:
    estimate = estimate_run(FACTS, RunOptions(gpu_layers=5, backend="cuda"))
    assert verdict(estimate, machine(64)).level == "not"


@pytest.mark.parametrize("gpus", [(6.0,), (12.0,), (24.0,), (4.0, 8.0), (1.0,), ()])
def test_one_layer_more_would_not_fit(gpus: tuple[float, ...]) -> None:
    there, options = machine(32, *gpus), RunOptions(context=4096, backend="cuda")
    layers = layers_that_fit(FACTS, options, there)
    split = tuple(max(gpu.free - MARGIN, 0.0) for gpu in there.gpus)

    def fits(count: int) -> bool:
        tried = options.model_copy(update={"gpu_layers": count, "split": split})
        devices = [device for device in estimate_run(FACTS, tried).devices if device.kind == "gpu"]
        free = [there.gpus[int(device.name.removeprefix("GPU") or 0)].free for device in devices]
        return all(device.total + MARGIN <= left for device, left in zip(devices, free, strict=True))

    assert layers == 0 or fits(layers)
    assert layers == 33 or not gpus or split == (0,) or not fits(layers + 1)
    assert (layers > 0) == (sum(gpus) > 4)


@pytest.mark.parametrize("free", [8, 10, 12, 16, 64])
def test_the_longest_context(free: float) -> None:
    there = machine(free)
    longest = longest_context(FACTS, RunOptions(), there)
    assert longest % 256 == 0

    def spare(context: int) -> int:
        found = spare_bytes(estimate_run(FACTS, RunOptions(context=context)), there)
        assert found is not None
        return found

    assert longest == 0 or spare(longest) >= MARGIN
    assert longest == FACTS.context_length or spare(longest + 256) < MARGIN


def test_of_an_unknown_model_no_context_is_promised() -> None:
    assert longest_context(UNKNOWN, RunOptions(), machine(64)) == 0


def test_past_loads_correct_the_overhead() -> None:
    def load(backend: str, more: int) -> Load:
        return Load.model_validate(
            {"model": "m", "backend": backend, "context": 1, "predicted": 100, "measured": 100 + more, "at": 0}
        )

    assert correction([], "cpu") == 0
    assert correction([load("cpu", 10), load("cpu", 30), load("cpu", 20), load("cuda", 500)], "cpu") == 20
    assert host_overhead("llama.cpp", 0, 25) == host_overhead("llama.cpp", 0) + 25
    assert host_overhead("llama.cpp", 0, -(1 << 40)) == 0


def test_answers_of_the_drivers_tool() -> None:
    answer = "NVIDIA H100, 81559, 80000\nbroken line\nOther, [N/A], 3\nNVIDIA T4, 15360, 1024\n"
    assert parse_gpus(answer) == (
        Gpu(name="NVIDIA H100", total=81559 << 20, free=80000 << 20),
        Gpu(name="NVIDIA T4", total=15360 << 20, free=1024 << 20),
    )
