"""Models for the small Hub of the tests: real headers, and weights that are only pretended to be there."""

from __future__ import annotations

import json
import struct
from typing import Any

from tests.hub_server import Repo

CARD = """---
license: apache-2.0
---
# {name}

<p align="center"><img src="https://example.org/logo.png" alt="A logo"></p>

A small model for **tests**. See [the paper](https://example.org/paper) and [the files](tree/main).

<script>window.stolen = true</script>

| Task | Score |
| --- | --- |
| One | 0.81 |

```python
from transformers import pipeline  # <b>code stays as it is</b>
```
"""


class Hollow(bytes):
    """Bytes with a long run of zeros behind them that takes no memory; their hash is that of the beginning."""

    whole: int

    def __new__(cls, head: bytes, whole: int) -> Hollow:
        made = super().__new__(cls, head)
        made.whole = max(whole, len(head))
        return made

    def __len__(self) -> int:
        return self.whole

    def __getitem__(self, key: Any) -> Any:
        head = bytes(self)
        if not isinstance(key, slice):
            return head[key] if key < len(head) else 0
        start, stop, _ = key.indices(self.whole)
        found = head[start:stop]
        return found + bytes(max(stop - start - len(found), 0))

    def __bytes__(self) -> bytes:
        return super().__getitem__(slice(0, super().__len__()))


def safetensors(shapes: dict[str, tuple[int, ...]]) -> Hollow:
    """A file of BF16 tensors."""
    entries, at = {}, 0
    for name, shape in shapes.items():
        n_bytes = 2
        for side in shape:
            n_bytes *= side
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + n_bytes]}
        at += n_bytes
    header = json.dumps(entries).encode()
    return Hollow(struct.pack("<Q", len(header)) + header, 8 + len(header) + at)


def llama(layers: int, width: int, vocabulary: int = 32_000) -> dict[str, bytes]:
    """The files of a Llama of that size, its weights hollow."""
    inner, kv, heads = 4 * width, width // 4, width // 64
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, width)}
    for layer in range(layers):
        names = {
            "self_attn.q_proj": (width, width), "self_attn.k_proj": (kv, width), "self_attn.v_proj": (kv, width),
            "self_attn.o_proj": (width, width), "mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width),
            "mlp.down_proj": (width, inner), "input_layernorm": (width,), "post_attention_layernorm": (width,),
        }  # fmt: skip
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in names.items()}
    shapes |= {"model.norm.weight": (width,), "lm_head.weight": (vocabulary, width)}
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": width, "vocab_size": vocabulary,
        "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": heads // 4 or 1, "max_position_embeddings": 32_768, "torch_dtype": "bfloat16",
        "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "tie_word_embeddings": False,
    }  # fmt: skip
    weights = safetensors(shapes)
    return {
        "config.json": json.dumps(config).encode(),
        "tokenizer.json": b"{}",
        "README.md": CARD.format(name="A Llama").encode(),
        "model.safetensors": weights,
        "pytorch_model.bin": Hollow(b"pickle", len(weights)),
        "original/consolidated.00.pth": Hollow(b"pickle", len(weights)),
        "onnx/model.onnx": Hollow(b"onnx", len(weights)),
    }


def parameters(files: dict[str, bytes]) -> int:
    """Weights of such a model."""
    return len(files["model.safetensors"]) // 2


def llama_repo(layers: int, width: int, **facts: Any) -> Repo:
    """A repository of such a model. facts: further fields of Repo."""
    files = llama(layers, width)
    return Repo(files, parameters=parameters(files), **{"tags": ("safetensors", "license:apache-2.0"), **facts})
