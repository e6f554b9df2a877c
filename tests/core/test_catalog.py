"""The catalog of mixes: numbers and names as llama.cpp has them, and sizes that the rules really give."""

from __future__ import annotations

import math

import gguf
import pytest

from core.catalog import ALIASES, ALL_MIXES, MIX, MIXES, available_mixes
from core.policy import choose, describe
from core.rules import Model
from kernels.blocks import FORMATS

# Known to llama.cpp, but newer than the gguf package.
NEWER = {"Q2_0": 41}

LLAMA_8B = Model("llama", 32, 32, 8)
LLAMA_8B_LAYER = {
    "attn_q": (4096, 4096),
    "attn_k": (1024, 4096),
    "attn_v": (1024, 4096),
    "attn_output": (4096, 4096),
    "ffn_gate": (14336, 4096),
    "ffn_up": (14336, 4096),
    "ffn_down": (4096, 14336),
    "attn_norm": (4096,),
    "ffn_norm": (4096,),
}
QWEN_30B = Model("qwen3moe", 48, 32, 4, experts=128)
QWEN_30B_LAYER = {
    "attn_q": (4096, 2048),
    "attn_k": (512, 2048),
    "attn_v": (512, 2048),
    "attn_output": (2048, 4096),
    "ffn_gate_exps": (128, 768, 2048),
    "ffn_up_exps": (128, 768, 2048),
    "ffn_down_exps": (128, 2048, 768),
    "ffn_gate_inp": (128, 2048),
    "attn_norm": (2048,),
}


def bits(mix, model, layer, vocabulary):
    """Bits per weight of a whole file under a mix."""
    width = layer["attn_norm"][0]
    rows = [(name, (vocabulary, width), "F16") for name in ("token_embd.weight", "output.weight")]
    rows += [
        (f"blk.{n}.{name}.weight", shape, "F32" if len(shape) == 1 or name == "ffn_gate_inp" else "F16")
        for n in range(model.layers)
        for name, shape in layer.items()
    ]
    tensors = describe(rows, model).values()
    sizes = [(math.prod(t.shape), FORMATS[choose(mix, model, t).type].bits_per_weight) for t in tensors]
    return sum(n * b for n, b in sizes) / sum(n for n, _ in sizes)


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
def test_bits_are_those_of_a_common_model(mix):
    if mix.name == "MXFP4_MOE":
        found = bits(mix, QWEN_30B, QWEN_30B_LAYER, 151936)
    else:
        model = Model("llama", 32, 32, 8, importance=mix.importance)
        found = bits(mix, model, LLAMA_8B_LAYER, 128256)
    assert found == pytest.approx(mix.bits, abs=0.0051)


@pytest.mark.parametrize("mix", ALL_MIXES, ids=lambda mix: mix.name)
def test_file_types_are_those_of_llama_cpp(mix):
    known = {kind.name.removeprefix("MOSTLY_").removeprefix("ALL_"): kind.value for kind in gguf.LlamaFileType}
    assert (known | NEWER)[mix.name] == mix.file_type


def test_names_and_numbers_are_unique():
    assert len({mix.name for mix in ALL_MIXES}) == len({mix.file_type for mix in ALL_MIXES}) == len(ALL_MIXES)
    assert sum(mix.recommended for mix in MIXES) == 1
    assert set(ALIASES.values()) <= MIX.keys()
    assert not ALIASES.keys() & MIX.keys()


def test_only_mixes_whose_types_can_be_encoded_are_offered(monkeypatch):
    assert all(mix.types <= FORMATS.keys() for mix in MIXES)
    whole = [mix.name for mix in MIXES if not FORMATS[mix.base_type].quantized]
    sizes = [mix.bits for mix in MIXES if mix.name not in whole]
    assert sizes == sorted(sizes, reverse=True)
    assert [mix.name for mix in MIXES][-len(whole) :] == whole == ["F32", "F16", "BF16"]
    monkeypatch.delitem(FORMATS, "Q5_K")
    left = {mix.name for mix in available_mixes()}
    assert left < {mix.name for mix in MIXES}
    assert {"Q8_0", "F16"} <= left
    assert not left & {"Q5_K_M", "Q4_K_M"}
