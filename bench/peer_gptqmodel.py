"""Runs GPTQModel for bench/peers.py, under a Python in which it is installed: nothing of this project is imported.

Usage: `PEER_PYTHON peer_gptqmodel.py quantize MODEL IDS OUT BITS GROUP`, `PEER_PYTHON peer_gptqmodel.py load CHECKPOINT
IDS OUT`. IDS: windows of token numbers, int64 (windows, length), as .npy. `quantize` writes its checkpoint to the
folder OUT and prints the seconds it took; `load` writes float32 logits (windows, length, vocabulary) to the file OUT.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # with fewer, as on two cores, it does not start
sys.path.pop(0)  # this folder, whose modules would hide libraries of the same names

import numpy as np
import torch


def quantize(model: str, ids: str, out: str, bits: int, group: int) -> None:
    """Its own defaults, but for bits and group; symmetric."""
    from gptqmodel import GPTQModel, QuantizeConfig

    windows = torch.from_numpy(np.load(ids))
    text: list[dict[str, Any]] = [
        {"input_ids": window[None], "attention_mask": torch.ones_like(window[None])} for window in windows
    ]
    config = QuantizeConfig(bits=bits, group_size=group, sym=True, device="cpu", offload_to_disk=False)
    loaded = GPTQModel.load(model, config)
    began = time.perf_counter()
    loaded.quantize(text, batch_size=1)
    loaded.save(out)
    print(f"\nseconds: {time.perf_counter() - began}", flush=True)


def load(checkpoint: str, ids: str, out: str) -> None:
    """Through transformers, which takes GPTQModel's modules for what is quantized."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint, device_map="cpu", dtype=torch.float32).eval()
    kinds = {
        type(module).__module__ + "." + type(module).__name__
        for module in model.modules()
        if hasattr(module, "qweight")
    }
    print("quantized modules: " + ", ".join(sorted(kinds)), flush=True)
    with torch.no_grad():
        logits = [model(torch.from_numpy(window)[None]).logits[0].float().numpy() for window in np.load(ids)]
    np.save(out, np.stack(logits))


if __name__ == "__main__":
    if sys.argv[1] == "quantize":
        quantize(*sys.argv[2:5], *map(int, sys.argv[5:7]))  # type: ignore[arg-type]
    else:
        load(*sys.argv[2:5])
