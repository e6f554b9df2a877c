"""Plans, results and records like those of the sample model (width 576), made up from formulas for tests of widgets."""

from __future__ import annotations

import math
from pathlib import Path

from core.jobs import (
    ErrorFigures,
    ModelSummary,
    Plan,
    QuantizeJob,
    QuantizeOptions,
    QuantizeResult,
    TensorInfo,
    TensorPlan,
    TensorResult,
)
from core.store import Store
from kernels.blocks import FORMATS

WIDTH, INNER, KV, VOCABULARY = 576, 1536, 192, 49152
SHAPES = {
    "attn_norm": (WIDTH,),
    "ffn_down": (WIDTH, INNER),
    "ffn_gate": (INNER, WIDTH),
    "ffn_up": (INNER, WIDTH),
    "ffn_norm": (WIDTH,),
    "attn_k": (KV, WIDTH),
    "attn_output": (WIDTH, WIDTH),
    "attn_q": (WIDTH, WIDTH),
    "attn_v": (KV, WIDTH),
}
OVERHEAD = 1_800_000


def tensor_shapes(layers: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a small Llama with tied embeddings."""
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCABULARY, WIDTH)}
    for layer in range(layers):
        shapes |= {f"blk.{layer}.{module}.weight": shape for module, shape in SHAPES.items()}
    return shapes | {"output_norm.weight": (WIDTH,)}


def source_type(name: str) -> str:
    return "F32" if "norm" in name else "Q8_0" if name == "token_embd.weight" else "Q4_1"


def target_type(name: str) -> str:
    """What Q4_K_M makes of these widths: only ffn_down has rows that fit blocks of 256."""
    if "norm" in name:
        return "F32"
    return "Q8_0" if name == "token_embd.weight" else "Q4_K" if "ffn_down" in name else "Q5_0"


def stored(shape: tuple[int, ...], kind: str) -> int:
    return math.prod(shape[:-1]) * FORMATS[kind].row_bytes(shape[-1])


def make_plan(layers: int = 4, overrides: dict[str, str] | None = None, target: str = "Q4_K_M") -> Plan:
    """A plan of Q4_K_M for the sample's shapes; `overrides` by tensor name."""
    rows = []
    for name, shape in tensor_shapes(layers).items():
        kind = (overrides or {}).get(name) or target_type(name)
        elements = math.prod(shape)
        fallback = kind == "Q5_0" and name not in (overrides or {})
        rows.append(
            TensorPlan(
                name=name,
                shape=shape,
                source_type=source_type(name),
                target_type=kind,
                elements=elements,
                source_bytes=stored(shape, source_type(name)),
                bytes=stored(shape, kind),
                bpw=8 * stored(shape, kind) / elements,
                reason=f"rows of {shape[-1]} do not fit blocks of 256" if fallback else "type of the mix",
                fallback=fallback,
                overridden=name in (overrides or {}),
            )
        )
    total = sum(row.bytes for row in rows)
    return Plan(
        source="/models/SmolLM2-135M-Instruct.Q4_1.gguf",
        architecture="llama",
        target=target,
        tensors=tuple(rows),
        source_bytes=sum(row.source_bytes for row in rows) + OVERHEAD,
        bytes=total + OVERHEAD,
        bits_per_weight=8 * total / sum(row.elements for row in rows),
        memory_bytes=320_000_000,
    )


def make_summary(path: str, layers: int = 4, quantized: bool = True) -> ModelSummary:
    """What `inspect` says of that model."""
    shapes = tensor_shapes(layers)
    kinds = {name: source_type(name) if quantized else "F16" for name in shapes}
    tensors = tuple(
        TensorInfo(
            name=name, shape=shape, type=kinds[name], elements=math.prod(shape), bytes=stored(shape, kinds[name])
        )
        for name, shape in shapes.items()
    )
    return ModelSummary(
        path=path,
        format="gguf",
        name="SmolLM2 135M Instruct",
        architecture="llama",
        label="Llama",
        type="Q4_1" if quantized else "F16",
        parameters=sum(t.elements for t in tensors),
        bytes=sum(t.bytes for t in tensors) + OVERHEAD,
        bits_per_weight=5.2,
        layers=layers,
        tensors=tensors,
    )


def make_error(relative: float, scale: float = 0.05) -> ErrorFigures:
    """Figures of a reconstruction whose relative RMSE is `relative`; 0 = without loss."""
    return ErrorFigures(
        rmse=relative * scale,
        relative_rmse=relative,
        snr_db=-20 * math.log10(relative) if relative else None,
        max_error=6 * relative * scale,
        cosine=1 - relative**2 / 2,
    )


def relative_error(name: str, kind: str) -> float:
    """A plausible relative RMSE that differs from tensor to tensor; the norms have none."""
    if kind in ("F32", "F16") or kind == source_type(name):
        return 0.0
    wobble = 1 + 0.35 * math.sin(sum(map(ord, name)) * 0.7)
    return {"Q8_0": 0.004, "Q5_0": 0.045, "Q4_K": 0.07, "Q6_K": 0.02}.get(kind, 0.09) * wobble


def make_result(layers: int = 4, output: str = "/models/SmolLM2-135M-Instruct.Q4_K_M.gguf") -> QuantizeResult:
    """A finished quantization of that plan."""
    plan = make_plan(layers)
    rows = [
        TensorResult(
            name=t.name,
            shape=t.shape,
            source_type=t.source_type,
            type=t.target_type,
            elements=t.elements,
            source_bytes=t.source_bytes,
            bytes=t.bytes,
            bpw_before=8 * t.source_bytes / t.elements,
            bpw=t.bpw,
            reason=t.reason,
            fallback=t.fallback,
            **make_error(relative_error(t.name, t.target_type)).model_dump(),
        )
        for t in plan.tensors
    ]
    elements = sum(t.elements for t in plan.tensors)
    return QuantizeResult(
        source=plan.source,
        output=output,
        target=plan.target,
        architecture="llama",
        source_bytes=plan.source_bytes,
        bytes=plan.bytes,
        bpw_before=8 * sum(t.source_bytes for t in plan.tensors) / elements,
        bpw=plan.bits_per_weight,
        seconds=3.4,
        peak_memory_bytes=310_000_000,
        sha256="0123456789abcdef" * 4,
        total=make_error(0.041),
        tensors=tuple(rows),
    )


def add_finished(store: Store, result: QuantizeResult) -> str:
    """Puts a finished quantize job with this result into the store and returns its id."""
    job = QuantizeJob(
        source=result.source, output=result.output, options=QuantizeOptions(target=result.target, allow_requantize=True)
    )
    job_id = store.add(job)
    store.start(job_id)
    store.finish(job_id, result)
    return job_id


def touch(path: Path) -> Path:
    """An empty file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path
