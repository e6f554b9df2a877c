"""Evaluations and rankings made up from formulas, for tests of what shows them."""

from __future__ import annotations

import math

from core.jobs import (
    CategoryEvaluation,
    Disagreement,
    EvaluateJob,
    EvaluateResult,
    EvaluationFigures,
    ModelEvaluation,
    Piece,
    PieceTensor,
    QuantizeOptions,
    SensitivityFigures,
    SensitivityJob,
    SensitivityResult,
)
from core.store import Store

SOURCE = "/models/SmolLM2-135M-Instruct-F16.gguf"
# name: (MiB, mean KLD); Q4_1 is larger and worse than Q4_K_M.
MODELS = {
    "Q8_0": (138, 0.0012),
    "Q6_K": (132, 0.0031),
    "Q4_K_M": (101, 0.031),
    "Q4_1": (104, 0.052),
    "Q2_K": (84, 0.41),
}
CATEGORIES = {"chat": 0.8, "code": 0.6, "languages": 1.9, "prose": 1.0}


def path_of(name: str) -> str:
    return f"/models/SmolLM2-135M-Instruct-{name}.gguf"


def figures(kld: float, tokens: int = 1020) -> dict[str, float]:
    """All figures of a model with this mean divergence."""
    made = dict.fromkeys(EvaluationFigures.model_fields, kld)
    return made | {
        "tokens": tokens,
        "mean_kld_error": kld / 12,
        "mean_kld_window_error": kld / 5,
        "median_kld": kld / 3,
        "kld_99": 9 * kld,
        "max_kld": 40 * kld,
        "ppl": 18 * math.exp(kld),
        "ppl_error": 0.4,
        "ppl_base": 18.0,
        "ppl_base_error": 0.4,
        "rms_dp": 100 * kld**0.5 / 4,
        "same_top_p": 100 - 40 * kld**0.5,
        "same_top_p_error": 0.5,
    }


def disagreements(kld: float) -> tuple[Disagreement, ...]:
    """A few tokens, the largest first."""
    words = (("The capital of France is", " Paris", " and"), ("def add(a, b):\n    return", " a", " + b\n"))
    return tuple(
        Disagreement(
            category=("prose", "code")[at % 2],
            window=at,
            position=300 + at,
            before=words[at % 2][0],
            token=words[at % 2][1],
            after=words[at % 2][2],
            kld=60 * kld / (1 + at),
            p=0.2,
            p_base=0.8,
            top=" the",
            top_base=words[at % 2][1],
        )
        for at in range(8)
    )


def make_model(name: str, kld: float, mebibytes: int) -> ModelEvaluation:
    """One model's figures."""
    return ModelEvaluation(
        model=path_of(name),
        bytes=mebibytes << 20,
        categories=tuple(
            CategoryEvaluation(category=category, **figures(kld * factor, 255))
            for category, factor in CATEGORIES.items()
        ),
        disagreements=disagreements(kld),
        **figures(kld),
    )


def make_evaluation(*names: str, chunks: int = 4) -> EvaluateResult:
    """A finished evaluation of these models, all where none is named."""
    chosen = {name: MODELS[name] for name in names or MODELS}
    return EvaluateResult(
        source=SOURCE,
        source_bytes=271 << 20,
        architecture="llama",
        datasets=tuple(f"evaluation/{category}.txt" for category in CATEGORIES),
        context=512,
        chunks=chunks,
        as_run=False,
        tokens=255 * chunks,
        seconds=31.0,
        peak_memory_bytes=900 << 20,
        models=tuple(make_model(name, kld, mebibytes) for name, (mebibytes, kld) in chosen.items()),
    )


def add_evaluation(store: Store, result: EvaluateResult) -> str:
    """Puts a finished evaluation into the store and returns its id."""
    job = EvaluateJob(source=result.source, models=tuple(model.model for model in result.models))
    return _finished(store, job, result)


def make_piece(name: str, layer: int | None, kld: float, modules: dict[str, tuple[int, ...]]) -> Piece:
    """A piece of these tensors in Q4_0."""
    tensors = tuple(
        PieceTensor(name=tensor, shape=shape, type="Q4_0", bytes=math.prod(shape) // 32 * 18)
        for tensor, shape in modules.items()
    )
    share = {"share": 1000 * kld, "share_error": 60 * kld}
    return Piece(name=name, layer=layer, bytes=sum(t.bytes for t in tensors), tensors=tensors, **share, **_few(kld))


def _few(kld: float) -> dict[str, float]:
    found = figures(kld)
    return {name: found[name] for name in SensitivityFigures.model_fields}


def make_ranking(layers: int = 6) -> SensitivityResult:
    """A finished ranking of the parts of layers."""
    pieces = [make_piece("token_embd.weight", None, 0.011, {"token_embd.weight": (49152, 576)})]
    for layer in range(layers):
        inside = f"blk.{layer}."
        attention = {f"{inside}{m}.weight": (576, 576) for m in ("attn_q", "attn_k", "attn_v", "attn_output")}
        forward = {f"{inside}{m}.weight": (1536, 576) for m in ("ffn_gate", "ffn_up")}
        forward |= {f"{inside}ffn_down.weight": (576, 1536)}
        wobble = 1.4 + math.sin(3.0 * layer)
        pieces.append(make_piece(f"{inside}attn", layer, 0.002 * wobble / (1 + layer), attention))
        pieces.append(make_piece(f"{inside}ffn", layer, 0.004 * wobble, forward))
    ranked = tuple(sorted(pieces, key=lambda piece: -piece.mean_kld))
    return SensitivityResult(
        source=SOURCE,
        source_bytes=271 << 20,
        architecture="llama",
        target="Q4_0",
        bytes=sum(piece.bytes for piece in pieces) + (2 << 20),
        by="group",
        datasets=("evaluation/prose.txt",),
        context=512,
        chunks=4,
        tokens=1020,
        seconds=88.0,
        peak_memory_bytes=900 << 20,
        together=SensitivityFigures(**_few(0.05)),
        pieces=ranked,
    )


def add_ranking(store: Store, result: SensitivityResult) -> str:
    """Puts a finished ranking into the store and returns its id."""
    job = SensitivityJob(source=result.source, options=QuantizeOptions(target=result.target), by=result.by)
    return _finished(store, job, result)


def _finished(store: Store, job: EvaluateJob | SensitivityJob, result: EvaluateResult | SensitivityResult) -> str:
    job_id = store.add(job)
    store.start(job_id)
    store.finish(job_id, result)
    return job_id
