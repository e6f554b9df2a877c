"""Builds the bundled sample as a Hugging Face folder in bf16, moved off the 4-bit grid that its weights lie on.

A model that comes from a 4-bit file is flattered by every 4-bit method. So each weight is moved by chance by up to
DITHER steps of its old grid, and then pairs of channels are multiplied and divided by numbers of their own, which
leaves the model's function as it is: norms and the columns that they feed, rows of value and columns of the attention's
output, rows of up and columns of down. The result is a model of its own, and the original of all comparisons.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.core.hf_sample import build_hf_sample

DITHER = 0.35
GROUP = 32  # of the sample's own blocks
SPREAD = 0.15  # of the channels' factors, which are log-normal
SEED = 23
KV_HEADS, HEADS, HEAD = 3, 9, 64
WEIGHTS = "model.safetensors"
Tensors = dict[str, torch.Tensor]


def build(folder: Path, draw: int = 0) -> Path:
    """Writes the model into `folder` (made if need be) and returns it. draw: another one for each number."""
    with tempfile.TemporaryDirectory(prefix="bitwright-bench-") as place:
        original = build_hf_sample(Path(place) / "original")
        tensors = {name: tensor.float() for name, tensor in load_file(original / WEIGHTS).items()}
        shutil.copytree(original, folder, ignore=shutil.ignore_patterns(WEIGHTS), dirs_exist_ok=True)
    random = torch.Generator().manual_seed(SEED + draw)
    for name in [name for name in tensors if ".layers." in name and tensors[name].ndim == 2]:
        tensors[name] = _dithered(tensors[name], random)
    for number in range(sum(name.endswith("input_layernorm.weight") for name in tensors)):
        _rescale(tensors, f"model.layers.{number}.", random)
    moved = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in tensors.items()}
    save_file(moved, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


def _dithered(w: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    blocks = w.reshape(len(w), -1, GROUP)
    step = (blocks.amax(2, keepdim=True) - blocks.amin(2, keepdim=True)) / 15
    return (blocks + DITHER * step * (2 * torch.rand(blocks.shape, generator=random) - 1)).reshape(w.shape)


def _rescale(tensors: Tensors, layer: str, random: torch.Generator) -> None:
    def factors(count: int) -> torch.Tensor:
        return torch.exp(SPREAD * torch.randn(count, generator=random))

    norms = {
        "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
    }
    for norm, fed in norms.items():
        scale = factors(len(tensors[f"{layer}{norm}.weight"]))
        tensors[f"{layer}{norm}.weight"] /= scale
        for name in fed:
            tensors[f"{layer}{name}.weight"] *= scale
    value = factors(KV_HEADS * HEAD)
    of_heads = value.reshape(KV_HEADS, 1, HEAD).expand(-1, HEADS // KV_HEADS, -1).reshape(-1)
    tensors[f"{layer}self_attn.v_proj.weight"] /= value[:, None]
    tensors[f"{layer}self_attn.o_proj.weight"] *= of_heads
    up = factors(len(tensors[f"{layer}mlp.up_proj.weight"]))
    tensors[f"{layer}mlp.up_proj.weight"] /= up[:, None]
    tensors[f"{layer}mlp.down_proj.weight"] *= up
