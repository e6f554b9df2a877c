"""A finished checkpoint of a small Llama, made up from formulas for tests of widgets."""

from __future__ import annotations

import math

from core.jobs import (
    ActivationFigures,
    CheckpointJob,
    CheckpointResult,
    ClippingFigures,
    Histogram,
    LayerFigures,
    MethodOptions,
    TensorResult,
)
from core.store import Store
from tests.app.values import make_error

MODULES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
MODULES = (*MODULES, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
WIDTH, LAYERS, STEPS = 64, 2, 32


def matrix_names() -> list[str]:
    return [f"model.layers.{layer}.{module}.weight" for layer in range(LAYERS) for module in MODULES]


def make_job() -> CheckpointJob:
    return CheckpointJob(
        source="/models/tiny", output="/models/tiny-gptq-int4-g128", options=MethodOptions(method="gptq", export="gptq")
    )


def layer_figures(at: int, name: str) -> LayerFigures:
    """The method halves the error, but for one matrix where rounding was taken."""
    rounded = 0.01 * (1 + at)
    guarded = at == 4
    return LayerFigures(
        name=name,
        layer=at // len(MODULES),
        error=rounded if guarded else rounded / 2,
        rounded_error=rounded,
        damp=0.01,
        guarded=guarded,
    )


def clipping_figures(at: int, name: str) -> ClippingFigures:
    """A bell, of which the range leaves the tails out."""
    counts = tuple(round(5000 * math.exp(-(((step - STEPS / 2 + 0.5) / 5) ** 2))) for step in range(STEPS))
    reach = 0.2 + 0.01 * at
    return ClippingFigures(
        name=name,
        layer=at // len(MODULES),
        low=-0.7 * reach,
        high=0.6 * reach,
        clipped=0.012,
        covered=0.71,
        histogram=Histogram(low=-reach, high=reach, counts=counts),
    )


def activation_figures(at: int, name: str) -> ActivationFigures:
    """What meets the query projection of a layer, and key and value with it; two columns have outliers."""
    largest = tuple(9.0 if column in (3, 40) else 1 + 0.01 * column for column in range(WIDTH))
    counts = tuple(round(3000 * math.exp(-(((step - STEPS / 2 + 0.5) / 4) ** 2))) for step in range(STEPS))
    return ActivationFigures(
        name=name,
        shared=tuple(name.replace("q_proj", other) for other in ("k_proj", "v_proj")),
        layer=at // len(MODULES),
        low=-9.0,
        high=8.5,
        percentiles=((0.1, -2.0), (50.0, 0.01), (99.0, 1.9), (99.9, 2.5)),
        histogram=Histogram(low=-9.0, high=8.5, counts=counts),
        columns=WIDTH,
        largest=largest,
        outliers=(3, 40),
        threshold=6.0,
        range_low=-2.2 if at == 0 else None,
        range_high=2.4 if at == 0 else None,
    )


def add_checkpoint(store: Store, result: CheckpointResult) -> str:
    """Puts a finished checkpoint into the store and returns its id."""
    job_id = store.add(make_job())
    store.start(job_id)
    store.finish(job_id, result)
    return job_id


def make_checkpoint(output: str = "/models/tiny-gptq-int4-g128") -> CheckpointResult:
    """The result of `make_job`."""
    names = matrix_names()
    rows = [
        TensorResult(
            name=name,
            shape=(WIDTH, WIDTH),
            source_type="BF16",
            type="gptq int4 g128",
            elements=WIDTH**2,
            source_bytes=2 * WIDTH**2,
            bytes=WIDTH**2 // 2 + WIDTH,
            bpw_before=16.0,
            bpw=4.2,
            reason="a linear layer",
            **make_error(0.05 + 0.002 * at).model_dump(),
        )
        for at, name in enumerate(names)
    ]
    return CheckpointResult(
        source="/models/tiny",
        output=output,
        target="gptq int4 g128 (gptq)",
        architecture="llama",
        source_bytes=sum(row.source_bytes for row in rows),
        bytes=sum(row.bytes for row in rows),
        bpw_before=16.0,
        bpw=4.2,
        seconds=12.5,
        peak_memory_bytes=600_000_000,
        sha256="fedcba9876543210" * 4,
        total=make_error(0.06),
        tensors=tuple(rows),
        layers=tuple(layer_figures(at, name) for at, name in enumerate(names)),
        activations=tuple(activation_figures(at, name) for at, name in enumerate(names) if "q_proj" in name),
        clipping=tuple(clipping_figures(at, name) for at, name in enumerate(names)),
    )
