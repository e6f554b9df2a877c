"""Memory to run a model: the golden numbers of published logs, to the MiB, and what must hold of every estimate."""

from __future__ import annotations

import math
from typing import Any

import pytest

from core.estimate.architectures import KNOWN, MODEL_TYPES
from core.estimate.config import facts_of_config
from core.estimate.metadata import Stored, facts_of_gguf
from core.estimate.running import estimate_run, places
from core.estimate.values import CacheType, ModelFacts, RunOptions

MIB = 1 << 20


def gguf(architecture: str, keys: dict[str, Any], tensors: list[Stored] | None = None) -> ModelFacts:
    values = {"general.architecture": architecture} | {f"{architecture}.{key}": value for key, value in keys.items()}
    return facts_of_gguf("model.gguf", "Model", values, tensors or [])


def cache_mib(facts: ModelFacts, **options: Any) -> float:
    return sum(device.cache for device in estimate_run(facts, RunOptions(**options)).devices) / MIB


GEMMA_3_4B = {
    "block_count": 34,
    "embedding_length": 2560,
    "feed_forward_length": 10240,
    "attention.head_count": 8,
    "attention.head_count_kv": 4,
    "attention.key_length": 256,
    "attention.value_length": 256,
    "attention.sliding_window": 1024,
    "vocab_size": 262208,
    "context_length": 131072,
}
LLAMA_31_8B = {
    "block_count": 32,
    "embedding_length": 4096,
    "feed_forward_length": 14336,
    "attention.head_count": 32,
    "attention.head_count_kv": 8,
    "vocab_size": 128256,
    "context_length": 131072,
}
DEEPSEEK_V3 = {
    "block_count": 61,
    "embedding_length": 7168,
    "feed_forward_length": 18432,
    "attention.head_count": 128,
    "attention.head_count_kv": 1,
    "attention.key_length": 576,
    "attention.value_length": 512,
    "attention.key_length_mla": 192,
    "attention.value_length_mla": 128,
    "vocab_size": 129280,
}


def gemma_tensors() -> list[Stored]:
    """Gemma 3 4B in F16: what its header says of each tensor."""
    width, forward, query, key = 2560, 10240, 2048, 1024
    layer = {
        "attn_q": (query, width),
        "attn_k": (key, width),
        "attn_v": (key, width),
        "attn_output": (width, query),
        "ffn_gate": (forward, width),
        "ffn_up": (forward, width),
        "ffn_down": (width, forward),
        **dict.fromkeys(("attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm"), (width,)),
        **dict.fromkeys(("attn_q_norm", "attn_k_norm"), (256,)),
    }
    shapes = {"token_embd.weight": (262208, width), "output_norm.weight": (width,)}
    shapes |= {f"blk.{number}.{name}.weight": shape for number in range(34) for name, shape in layer.items()}
    return [
        Stored(name, "F16", shape, math.prod(shape) * (2 if len(shape) > 1 else 4)) for name, shape in shapes.items()
    ]


def test_gemma_3_4b_as_llama_cpp_logs_it() -> None:
    """llama.cpp #22171: `MTL0 7401 814 517` and `host 1280`, at -c 32768 with everything on the GPU."""
    facts = gguf("gemma3", GEMMA_3_4B, gemma_tensors())
    options = RunOptions(context=32768, gpu_layers=99, backend="metal")
    host, gpu = estimate_run(facts, options).devices
    assert round(host.weights / MIB, 1) == 1280.3
    assert gpu.weights // MIB == 7401  # it cuts the fraction off
    assert round(gpu.cache / MIB, 1) == 814.0
    assert round(gpu.compute / MIB, 1) == 517.1


@pytest.mark.parametrize(
    ("architecture", "keys", "context", "cache_type", "expected"),
    [
        # ik_llama.cpp #259 logs it for DeepSeek-R1: the latent alone, in q8_0.
        ("deepseek2", DEEPSEEK_V3, 32768, "q8_0", 1166.62),
        # 128 KiB a token.
        ("llama", LLAMA_31_8B, 8192, "f16", 1024.0),
        ("llama", LLAMA_31_8B, 8192, "q8_0", 544.0),
        ("llama", LLAMA_31_8B, 8192, "q4_0", 288.0),
        ("llama", LLAMA_31_8B, 8000, "f16", 1024.0),  # cells come in steps of 256
        ("gemma3", GEMMA_3_4B, 32768, "f16", 814.0),
    ],
)
def test_cache(architecture: str, keys: dict[str, Any], context: int, cache_type: CacheType, expected: float) -> None:
    facts = gguf(architecture, keys)
    assert round(cache_mib(facts, context=context, cache_type_k=cache_type, cache_type_v=cache_type), 2) == expected


# What llama.cpp logged for random models of these shapes (width 1024, head 256, 2 key heads, 18 layers, window 512).
SMALL_GEMMA = GEMMA_3_4B | {
    "block_count": 18,
    "embedding_length": 1024,
    "attention.head_count_kv": 2,
    "attention.sliding_window": 512,
}


@pytest.mark.parametrize(
    ("context", "batch", "cache_type", "expected"),
    [(2048, 128, "f16", 34.5), (8192, 128, "f16", 70.5), (8192, 128, "q8_0", 37.45), (8192, 512, "f16", 78.0)],
)
def test_windows_as_llama_cpp_allocates_them(context: int, batch: int, cache_type: CacheType, expected: float) -> None:
    facts = gguf("gemma3", SMALL_GEMMA)
    options = {"context": context, "batch": batch, "cache_type_k": cache_type, "cache_type_v": cache_type}
    assert round(cache_mib(facts, **options), 2) == expected


@pytest.mark.parametrize(
    ("width", "forward", "context", "batch", "expected"),
    [
        (576, 1536, 2048, 512, 16.64),
        (576, 1536, 8192, 512, 22.64),
        (576, 1536, 2048, 128, 4.16),
        (1024, 2816, 2048, 512, 28.52),
        (512, 4096, 2048, 512, 31.02),
    ],
)
def test_compute_buffer_as_llama_cpp_allocates_it(
    width: int, forward: int, context: int, batch: int, expected: float
) -> None:
    """Logged by llama.cpp for Llama shapes when only the last token's probabilities are wanted."""
    facts = gguf("llama", LLAMA_31_8B | {"embedding_length": width, "feed_forward_length": forward})
    options = RunOptions(context=context, batch=batch, output_rows=1)
    assert estimate_run(facts, options).devices[0].compute / MIB == pytest.approx(expected, rel=0.01)


def test_narrow_feed_forward_networks_get_a_little_too_much() -> None:
    """Where it is as wide as the model (1024), llama.cpp logged 16.02 MiB: the fit errs on the side of caution."""
    facts = gguf("llama", LLAMA_31_8B | {"embedding_length": 1024, "feed_forward_length": 1024})
    compute = estimate_run(facts, RunOptions(context=2048, output_rows=1)).devices[0].compute / MIB
    assert 16.02 < compute < 16.02 * 1.15


def test_windows_can_be_cached_whole() -> None:
    facts = gguf("gemma3", GEMMA_3_4B)
    assert cache_mib(facts, context=32768, full_window=True) == 34 * 32768 * 4096 / MIB


def test_sequences_have_a_cache_each_or_share_one() -> None:
    facts = gguf("llama", LLAMA_31_8B)
    one = cache_mib(facts, context=4096)
    assert cache_mib(facts, context=4096, sequences=4) == 4 * one
    assert cache_mib(facts, context=4096, sequences=4, unified=True) == 4 * one
    windows = gguf("gemma3", GEMMA_3_4B)
    apart = cache_mib(windows, context=4096, sequences=4)
    assert cache_mib(windows, context=4096, sequences=4, unified=True) < apart


def test_shared_layers_hold_nothing() -> None:
    keys = GEMMA_3_4B | {"block_count": 30}
    own = gguf("gemma3n", keys)
    assert [layer.key_width > 0 for layer in own.layers] == [True] * 20 + [False] * 10
    shared = gguf("gemma4", keys | {"attention.shared_kv_layers": 12})
    assert [layer.key_width > 0 for layer in shared.layers] == [True] * 18 + [False] * 12


def test_heads_of_windows_may_be_shorter() -> None:
    pattern = [True] * 5 + [False]
    keys = GEMMA_3_4B | {
        "block_count": 6,
        "attention.sliding_window_pattern": pattern,
        "attention.key_length": 512,
        "attention.key_length_swa": 256,
        "attention.head_count_kv": [4, 4, 4, 4, 4, 2],
    }
    layers = gguf("gemma4", keys).layers
    assert [layer.key_width for layer in layers] == [4 * 256] * 5 + [2 * 512]
    assert [layer.window for layer in layers] == [1024] * 5 + [0]


RECURRENT = {"block_count": 8, "embedding_length": 64, "feed_forward_length": 256, "vocab_size": 100}
MAMBA = {"ssm.conv_kernel": 4, "ssm.inner_size": 128, "ssm.state_size": 16, "ssm.group_count": 1}
MAMBA_STATE = 3 * (128 + 2 * 16) + 16 * 128


@pytest.mark.parametrize(
    ("architecture", "keys", "states", "cached"),
    [
        ("mamba2", MAMBA, [MAMBA_STATE] * 8, 0),
        ("rwkv6", {"wkv.head_size": 16}, [64 * 2 + 64 * 16] * 8, 0),
        ("lfm2", {"shortconv.l_cache": 3, "attention.head_count": 4, "attention.head_count_kv": [0, 0, 2, 0] * 2},
         [128, 128, 0, 128] * 2, 2),
        ("jamba", MAMBA | {"attention.head_count": 4, "attention.head_count_kv": [0, 0, 0, 2] * 2},
         [MAMBA_STATE] * 3 + [0] + [MAMBA_STATE] * 3 + [0], 2),
        ("falcon-h1", MAMBA | {"attention.head_count": 4}, [MAMBA_STATE] * 8, 8),
        ("qwen3next", MAMBA | {"attention.head_count": 4}, ([MAMBA_STATE] * 3 + [0]) * 2, 2),
    ],
)  # fmt: skip
def test_recurrent_states(architecture: str, keys: dict[str, Any], states: list[int], cached: int) -> None:
    facts = gguf(architecture, RECURRENT | keys)
    assert facts.known
    assert [layer.state for layer in facts.layers] == states
    assert sum(layer.key_width > 0 for layer in facts.layers) == cached
    short, long = (estimate_run(facts, RunOptions(context=context)).devices[0] for context in (512, 65536))
    assert short.state == long.state == 4 * sum(states)


def test_layers_lie_on_devices_as_llama_cpp_places_them() -> None:
    """The last layers go to the GPUs, the output layer counts as one, and shares divide what is there in order."""
    facts = gguf("llama", LLAMA_31_8B)
    assert places(facts, RunOptions()) == [None] * 33
    assert places(facts, RunOptions(gpu_layers=1)) == [None] * 32 + [0]
    assert places(facts, RunOptions(gpu_layers=10)) == [None] * 23 + [0] * 10
    assert places(facts, RunOptions(gpu_layers=99, split=(2.0, 1.0))) == [0] * 22 + [1] * 11


def test_a_tied_output_layer_is_copied_to_the_gpu() -> None:
    facts = gguf("gemma3", GEMMA_3_4B, gemma_tensors())
    whole = facts.weight_bytes
    without, with_output = (estimate_run(facts, RunOptions(gpu_layers=layers)) for layers in (0, 1))
    assert sum(device.weights for device in without.devices) == whole
    assert sum(device.weights for device in with_output.devices) == whole + facts.embedding_bytes


def test_experts_can_stay_in_the_computer() -> None:
    tensors = [
        Stored("token_embd.weight", "F16", (100, 64), 12_800),
        *(Stored(f"blk.{n}.ffn_up_exps.weight", "F16", (8, 64, 64), 65_536) for n in range(8)),
        *(Stored(f"blk.{n}.attn_q.weight", "F16", (64, 64), 8_192) for n in range(8)),
    ]
    keys = RECURRENT | {"attention.head_count": 4, "expert_count": 8, "expert_used_count": 2}
    facts = gguf("qwen3moe", keys, tensors)
    host, gpu = estimate_run(facts, RunOptions(gpu_layers=99, experts_on_cpu=True, backend="cuda")).devices
    assert host.weights == 12_800 + 8 * 65_536
    assert gpu.weights == 8 * 8_192 + 12_800


def test_rearranged_copies_count_where_the_processor_computes() -> None:
    """llama.cpp logs `CPU_Mapped 160.59` and `CPU_REPACK 120.94` for a model in Q4_0: both are resident."""
    tensors = [Stored("blk.0.attn_q.weight", "Q4_0", (64, 64), 2304), Stored("blk.0.attn_k.weight", "F16", (64, 64), 9)]
    facts = gguf("llama", LLAMA_31_8B | {"block_count": 1}, tensors)
    assert estimate_run(facts, RunOptions()).devices[0].weights == 2 * 2304 + 9
    on_gpu = estimate_run(facts, RunOptions(gpu_layers=99, backend="cuda"))
    assert sum(device.weights for device in on_gpu.devices) == 2304 + 9


def test_quantized_values_need_flash_attention() -> None:
    facts = gguf("llama", LLAMA_31_8B)
    options = RunOptions(cache_type_k="q8_0", cache_type_v="q8_0", flash_attention=False)
    estimate = estimate_run(facts, options)
    assert estimate.devices[0].cache == 32 * 4096 * (1024 * 34 // 32 + 2 * 1024)
    assert any("flash attention" in words for words in estimate.assumptions)


# ---------------------------------------------------------------- unknown and broken


@pytest.mark.parametrize(
    ("architecture", "keys"),
    [
        ("a-new-one", LLAMA_31_8B),
        ("", {}),
        ("llama", {}),
        ("llama", LLAMA_31_8B | {"attention.head_count": 0}),
        ("llama", LLAMA_31_8B | {"block_count": 10**12}),
        ("llama", LLAMA_31_8B | {"block_count": "many", "embedding_length": float("nan")}),
        ("llama", LLAMA_31_8B | {"block_count": -3}),
    ],
)
def test_what_is_not_known_is_said_and_weights_remain(architecture: str, keys: dict[str, Any]) -> None:
    facts = gguf(architecture, keys, [Stored("blk.0.attn_q.weight", "F16", (4, 4), 32)])
    estimate = estimate_run(facts, RunOptions(gpu_layers=3, split=(0.0, 0.0)))
    assert facts.problem
    assert not estimate.complete
    assert sum(device.weights for device in estimate.devices) == 32
    assert all(device.cache == device.state == device.compute == 0 for device in estimate.devices)
    assert "weights only" in estimate.assumptions[0]


@pytest.mark.parametrize("architecture", sorted(KNOWN))
def test_every_known_architecture_gives_whole_numbers(architecture: str) -> None:
    facts = gguf(architecture, LLAMA_31_8B | MAMBA | {"attention.sliding_window": 512})
    assert facts.known
    for options in (RunOptions(), RunOptions(gpu_layers=12, backend="cuda", flash_attention=False, context=0)):
        estimate = estimate_run(facts, options)
        assert estimate.complete
        assert sum(device.cache + device.state for device in estimate.devices) > 0


# ---------------------------------------------------------------- transformers and vLLM

LLAMA_CONFIG = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}


def config(**changes: Any) -> ModelFacts:
    tensors = [("model.embed_tokens.weight", 10), ("model.layers.3.mlp.up_proj.weight", 7), ("lm_head.weight", 11)]
    return facts_of_config("folder", "Model", LLAMA_CONFIG | changes, tensors)


def test_a_checkpoint_is_cached_in_its_own_type() -> None:
    facts = config()
    estimate = estimate_run(facts, RunOptions(context=8000))
    assert estimate.runtime == "transformers"
    (host,) = estimate.devices
    assert host.cache == 8000 * 128 * 1024
    assert host.weights == 28
    assert facts.layers[3].bytes == 7
    assert estimate_run(config(torch_dtype="float32"), RunOptions(context=8000)).devices[0].cache == 2 * host.cache


def test_windows_of_a_checkpoint() -> None:
    kinds = ["sliding_attention", "full_attention"] * 16
    facts = config(sliding_window=1024, layer_types=kinds)
    assert [layer.window for layer in facts.layers] == [1024, 0] * 16
    gemma = config(model_type="gemma3_text", sliding_window=1024)
    assert [layer.window for layer in gemma.layers][:7] == [1024] * 5 + [0, 1024]
    assert {layer.window for layer in config(sliding_window=1024, use_sliding_window=False).layers} == {0}
    late = config(model_type="qwen2", sliding_window=1024, use_sliding_window=True, max_window_layers=28)
    assert [layer.window for layer in late.layers] == [0] * 28 + [1024] * 4


def test_latent_attention_is_cached_whole_by_transformers_and_as_latent_by_vllm() -> None:
    facts = config(
        model_type="deepseek_v3", kv_lora_rank=512, qk_rope_head_dim=64, qk_nope_head_dim=128, v_head_dim=128
    )
    whole = estimate_run(facts, RunOptions(context=1000, runtime="transformers")).devices[-1].cache
    latent = estimate_run(facts, RunOptions(context=1000, runtime="vllm", backend="cuda")).devices[-1].cache
    assert whole == 32 * 1000 * 32 * (192 + 128) * 2
    assert latent == 32 * 1000 * 576 * 2


def test_a_language_model_inside_a_larger_one() -> None:
    values = {"model_type": "gemma3", "text_config": LLAMA_CONFIG | {"model_type": "gemma3_text"}}
    tensors = [("language_model.model.layers.0.x.weight", 5), ("vision_tower.encoder.layers.9.x.weight", 3)]
    facts = facts_of_config("folder", "Model", values, tensors)
    assert facts.known
    assert (facts.layers[0].bytes, facts.other_bytes) == (5, 3)


@pytest.mark.parametrize("model_type", sorted(MODEL_TYPES))
def test_every_known_model_type_gives_whole_numbers(model_type: str) -> None:
    estimate = estimate_run(config(model_type=model_type), RunOptions(context=512))
    assert estimate.complete
    assert estimate.total > 0


def test_unknown_model_types_have_weights_only() -> None:
    facts = config(model_type="mamba_of_tomorrow")
    estimate = estimate_run(facts, RunOptions())
    assert not estimate.complete
    assert (estimate.devices[0].weights, estimate.devices[0].cache) == (28, 0)
