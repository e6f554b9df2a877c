"""Which layers of an architecture keep what of the text: THE tables of sliding windows and recurrent layers.

Names are GGUF's for llama.cpp and config.json's `model_type` for transformers. An architecture that is in none of the
tables is not guessed at: of it only the weights are known. Facts from llama.cpp, src/models/*.cpp and
src/llama-hparams.cpp, and from transformers' configuration classes. This module is light.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Recurrent = Literal["all", "beside", "no_kv_heads", "no_kv_heads_no_forward", "interval"]


@dataclass(frozen=True, slots=True)
class Windows:
    """Which layers look back on a sliding window only, where the file has no list of them.

    period: of so many layers one sees everything: the last, or with full_first the first. length: of the window where
    the file names none, 0 = then there are no windows. only_at: number of layers where the rule holds, 0 = any.
    """

    period: int
    full_first: bool = False
    length: int = 0
    only_at: int = 0

    def has(self, layer: int) -> bool:
        """Whether that layer has a window."""
        place = layer % self.period
        return place != 0 if self.full_first else place < self.period - 1


# Every layer caches keys and values of all heads for the whole context.
# fmt: off
PLAIN = frozenset({
    "llama", "deci", "falcon", "grok", "gpt2", "gptj", "gptneox", "mpt", "baichuan", "starcoder", "refact",
    "bloom", "stablelm", "qwen", "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen3moe", "qwen3vl", "qwen3vlmoe",
    "phi2", "phi3", "phimoe", "plamo", "codeshell", "orion", "internlm2", "minicpm", "minicpm3", "gemma",
    "starcoder2", "xverse", "command-r", "dbrx", "olmo", "olmoe", "openelm", "arctic", "deepseek", "deepseek2",
    "chatglm", "glm4", "glm4moe", "bitnet", "jais", "nemotron", "exaone", "granite", "granitemoe", "chameleon",
    "plm", "bailingmoe", "bailingmoe2", "dots1", "arcee", "ernie4_5", "ernie4_5-moe", "hunyuan-moe",
    "hunyuan-dense", "smollm3", "seed_oss", "apertus", "minimax-m2", "mistral3", "mistral4", "maincoder",
})
# fmt: on

WINDOWS: dict[str, Windows] = {
    "gemma2": Windows(2, length=4096),
    "gemma3": Windows(6),
    "gemma3n": Windows(5),
    "gemma4": Windows(6),
    "llama4": Windows(4, length=8192),
    "cohere2": Windows(4),
    "cohere2moe": Windows(4, full_first=True),
    "gpt-oss": Windows(2),
    "olmo2": Windows(4),
    "exaone4": Windows(4, length=4096, only_at=64),
    "exaone-moe": Windows(4, length=128),
    "plamo3": Windows(8),
    "afmoe": Windows(4),
    "mellum": Windows(4),
    "smallthinker": Windows(4, full_first=True, length=4096),
    "mimo2": Windows(1),
    "step35": Windows(1),
    "granite_swa": Windows(1),
}
# The number of the first layer that uses the cache of an earlier one, where the file does not say it.
FIRST_SHARED: dict[str, int] = {"gemma3n": 20}

# Layers with a state of fixed size: all; all, beside their attention; those without heads for keys; those that also
# lack a feed-forward network; all but one in `full_attention_interval`.
RECURRENT: dict[str, Recurrent] = {
    "mamba": "all",
    "mamba2": "all",
    "rwkv6": "all",
    "rwkv6qwen2": "all",
    "rwkv7": "all",
    "arwkv7": "all",
    "falcon-h1": "beside",
    "jamba": "no_kv_heads",
    "granitehybrid": "no_kv_heads",
    "lfm2": "no_kv_heads",
    "lfm2moe": "no_kv_heads",
    "plamo2": "no_kv_heads",
    "nemotron_h": "no_kv_heads_no_forward",
    "nemotron_h_moe": "no_kv_heads_no_forward",
    "qwen3next": "interval",
    "qwen35": "interval",
    "qwen35moe": "interval",
}
KNOWN = PLAIN | WINDOWS.keys() | RECURRENT.keys()

# transformers: model types whose layers cache the whole context, but for what config.json says of windows.
# fmt: off
MODEL_TYPES = frozenset({
    "llama", "mistral", "ministral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "gemma", "gemma2",
    "gemma3_text", "gemma3n_text", "gemma4_text", "phi", "phi3", "olmo", "olmo2", "olmo3", "gpt2", "gpt_neox",
    "gptj", "starcoder2", "smollm3", "granite", "granitemoe", "cohere", "cohere2", "deepseek_v2", "deepseek_v3",
    "gpt_oss", "stablelm", "exaone4", "glm", "glm4", "glm4_moe", "nemotron", "arcee", "apertus", "seed_oss",
    "bitnet", "internlm2", "minicpm", "llama4_text", "opt", "bloom", "qwen3_next", "qwen2_vl_text",
    "qwen2_5_vl_text", "mistral3", "helium", "ernie4_5",
})
# fmt: on
# The same for those whose older configurations have no list of layers.
MODEL_TYPE_WINDOWS: dict[str, Windows] = {
    "gemma2": Windows(2),
    "gemma3_text": Windows(6),
    "gemma3n_text": Windows(5),
    "cohere2": Windows(4),
    "gpt_oss": Windows(2),
    "exaone4": Windows(4),
    "olmo3": Windows(4),
}
