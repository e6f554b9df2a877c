"""A small model made into checkpoints, and the same computed from scratch: what the loaded ones must agree with."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from core.checkpoints.settings import settled
from core.checkpoints.solve import SOLVERS
from core.checkpoints.source import CheckpointSource
from core.jobs import MethodOptions
from tests.core import hf_tiny

CONFIG: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 256, "dtype": "float32"}
TOKENS = torch.arange(24)[None] * 7 % 300


def build(folder: Path, **config: Any) -> Path:
    """A random Llama with rows of several sizes that lie to one side."""
    values = {**hf_tiny.CONFIG, **CONFIG, **config}
    weights = hf_tiny.tensors(values, seed=3)
    chance = np.random.default_rng(4)
    for name, w in weights.items():
        if "norm" in name:
            weights[name] = (1 + w).astype(np.float16)
        elif "embed" in name:  # a strong residual stream, so that rounding to 16 bits is not amplified layer by layer
            weights[name] = 10 * w
        elif "proj" in name:
            weights[name] = (w * chance.uniform(0.5, 2, (len(w), 1)) + 0.01).astype(np.float16)
    if values.get("attention_bias"):
        inputs = [name for name in weights if "self_attn" in name]
        biases = {name.replace("weight", "bias"): chance.normal(0, 1, len(weights[name])) for name in inputs}
        weights |= {name: bias.astype(np.float16) for name, bias in biases.items()}
    # In float32, because what is quantized already is computed in the type of what is not.
    return hf_tiny.build(folder, {**CONFIG, **config}, {name: w.astype(np.float32) for name, w in weights.items()})


@contextmanager
def quietly() -> Iterator[None]:
    """Libraries that load models warn of their own affairs; what is compiled at run time is not compiled here."""
    torch.compiler.set_stance("force_eager")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.compiler.set_stance("default")


def logits_of(model: Any, tokens: torch.Tensor = TOKENS) -> np.ndarray:
    """Logits of all tokens (windows, length), one after another."""
    with quietly(), torch.no_grad():
        return model(tokens).logits.float().flatten(0, 1).numpy()


def loaded(folder: Path, **options: Any) -> Any:
    """A checkpoint as transformers loads it, in float32."""
    with quietly():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)


def computed(folder: Path, options: MethodOptions) -> np.ndarray:
    """Logits of the source with its linear layers' weights replaced by what the method makes of them."""
    settings = settled(options)
    model = loaded(folder)
    assert isinstance(model, LlamaForCausalLM)
    with CheckpointSource(folder) as source:
        for entry in source.entries:
            own = settings.of(entry.name) if entry.is_linear else None
            if own is not None:
                w = source.numbers(entry)
                made = SOLVERS[own.choice.method](w, own, entry.stored.dtype, None)
                layer = model.get_submodule(entry.module)
                layer.weight.data = torch.from_numpy(made.values())
                if own.choice.activations or options.export == "bitnet" or options.method == "llm-int8":
                    layer.register_forward_pre_hook(partial(in_eight_bits, options))
    return logits_of(model)


def in_eight_bits(options: MethodOptions, layer: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Rounds each token's activations to 8 bits as the program that loads this form does.

    compressed-tensors has 127.5 steps for the largest magnitude; bitsandbytes begins with half precision, and leaves
    columns with a magnitude of 6 or more as they are.
    """
    x = inputs[0].half().float() if options.method == "llm-int8" else inputs[0]
    kept = (x.abs() >= 6.0).flatten(0, -2).any(0) if options.method == "llm-int8" else torch.zeros(x.shape[-1]).bool()
    small = torch.where(kept, 0.0, x)
    scale = small.abs().amax(-1, keepdim=True).clamp_min(1e-5) / (127.5 if options.activations else 127.0)
    return (torch.where(kept, x, torch.round(small / scale).clamp(-128, 127) * scale),)


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
