"""Families: names, rotary scaling, row order, refusals and tokenizers, against gguf-py, transformers and llama.cpp."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from core import engine, errors
from core.families import FAMILIES
from core.families.conversion import interleaved_rows
from core.families.llama import LLAMA
from core.families.pretokenizers import BY_HASH, BY_RULES, ROWS
from core.families.token_table import CONTROL, NORMAL, UNUSED, USER_DEFINED, looks_special
from core.formats.gguf_layout import KeyValue
from core.formats.gguf_writer import GGUFWriter, TensorSlot, layout
from core.jobs import ChatJob, ChatResult, Sampling
from core.sources import Source, open_source
from tests.core import hf_tiny

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def values(source: Source) -> dict[str, Any]:
    return {entry.key: entry.value for entry in source.metadata}


def opened(folder: Path, config: dict[str, Any] | None = None, **files: Any) -> Source:
    """A tiny model with changes; `files` by name, with `__` for the dot."""
    return open_source(
        hf_tiny.build(folder, config, files={name.replace("__", "."): text for name, text in files.items()})
    )


# ---------------------------------------------------------------- tensors


# transformers' own names of what the first BitNet models have under other ones.
NEWER_NAMES = ("model.layers.{0}.self_attn.attn_sub_norm.weight", "model.layers.{0}.mlp.ffn_sub_norm.weight")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_names_are_those_gguf_py_maps_to(family: Any) -> None:
    architecture = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == family.name)
    names = gguf.get_tensor_name_map(architecture, 3)
    known = {gguf.TENSOR_NAMES[kind].format(bid=2) for kind in gguf.MODEL_TENSORS[architecture]}
    for rule in family.tensors:
        source, target = rule.source.format(2, 0), rule.target.format(2)
        if source == "lm_head.weight" and family.defaults.get("tie_word_embeddings"):
            continue  # never there, or the embedding again
        assert target.removesuffix(".weight").removesuffix(".bias") in known
        mapped = names.get_name(source, try_suffixes=(".weight", ".bias"))
        assert mapped == target or "experts" in rule.source or rule.source in NEWER_NAMES


def test_row_order_is_the_reshape_of_the_literature() -> None:
    weights = np.arange(6 * 10 * 3).reshape(60, 3)
    expected = weights.reshape(6, 2, 5, 3).swapaxes(1, 2).reshape(60, 3)
    np.testing.assert_array_equal(weights[interleaved_rows(60, 6)], expected)


def test_biases_move_with_their_rows(tmp_path: Path) -> None:
    weights = hf_tiny.tensors(hf_tiny.CONFIG)
    for layer in range(2):
        for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
            name = f"model.layers.{layer}.self_attn.{part}"
            weights[f"{name}.bias"] = weights[f"{name}.weight"][:, 0].copy()
    with open_source(hf_tiny.build(tmp_path, {"attention_bias": True}, weights)) as source:
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            bias = source.tensor(f"blk.1.{part}.bias")
            assert bias.type == "F32"
            matrix = source.read(source.tensor(f"blk.1.{part}.weight"))
            np.testing.assert_array_equal(source.read(bias)[0], matrix[:, 0])
        moved = source.read(source.tensor("blk.1.attn_k.bias"))[0]
        assert (moved != weights["model.layers.1.self_attn.k_proj.bias"].astype(np.float32)).any()


def test_untied_output_and_order(tmp_path: Path) -> None:
    with opened(tmp_path, {"tie_word_embeddings": False}) as source:
        names = [tensor.name for tensor in source.tensors]
    assert names[0] == "token_embd.weight"
    assert names[-2:] == ["output_norm.weight", "output.weight"]
    assert names[1].startswith("blk.0.")
    assert names[-3].startswith("blk.1.")


def test_ignored_and_tied_tensors_are_left_out(tmp_path: Path) -> None:
    weights = hf_tiny.tensors(hf_tiny.CONFIG)
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(8, np.float32)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].copy()
    with open_source(hf_tiny.build(tmp_path, weights=weights)) as source:
        assert len(source.tensors) == len(weights) - 2


@pytest.mark.parametrize(
    ("change", "leaf", "words"),
    [
        ({"model.norm.weight": None}, errors.NotAModel, "model.norm.weight"),
        ({"model.layers.1.mlp.up_proj.weight": np.zeros((5, 5), np.float16)}, errors.NotAModel, "shape (5, 5)"),
        ({"model.layers.0.mlp.experts.weight": np.zeros((5, 5), np.float16)}, errors.CannotConvert, "experts"),
        ({"model.layers.2.mlp.up_proj.weight": np.zeros((96, 64), np.float16)}, errors.CannotConvert, "layers.2"),
        ({"model.norm.weight": np.zeros(64, np.float64)}, errors.UnsupportedType, "F64"),
        ({"model.embed_tokens.weight": np.zeros((320, 64), np.int8)}, errors.UnsupportedType, "I8"),
    ],
)
def test_wrong_tensors_are_named(tmp_path: Path, change: dict[str, Any], leaf: type, words: str) -> None:
    weights = {**hf_tiny.tensors(hf_tiny.CONFIG), **change}
    weights = {name: array for name, array in weights.items() if array is not None}
    with pytest.raises(leaf) as caught:
        open_source(hf_tiny.build(tmp_path, weights=weights))
    assert words in caught.value.line


# ---------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "gelu"),
        ("partial_rotary_factor", 0.5),
        ("num_local_experts", 8),
        ("rope_scaling", {"rope_type": "dynamic", "factor": 2.0}),
        ("rope_scaling", {"rope_type": "longrope", "factor": 2.0}),
        ("rope_scaling", {"type": "linear"}),
        ("rope_scaling", {"rope_type": "yarn", "factor": 2.0}),
        ("rope_scaling", {**LLAMA3_ROPE, "attention_factor": 2.0}),
        ("rope_scaling", {**LLAMA3_ROPE, "low_freq_factor": -1}),
        ("rope_scaling", "linear"),
    ],
)
def test_values_that_would_not_survive_are_refused(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(errors.CannotConvert) as caught:
        opened(tmp_path, {key: value})
    assert "cannot be converted" in caught.value.line


@pytest.mark.parametrize("key", ["num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size"])
def test_missing_sizes_are_named(tmp_path: Path, key: str) -> None:
    folder = hf_tiny.build(tmp_path)
    config = {name: value for name, value in hf_tiny.CONFIG.items() if name != key}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(errors.NotAModel) as caught:
        open_source(folder)
    assert key in caught.value.line


def test_both_spellings_of_rotary_parameters_are_the_same(tmp_path: Path) -> None:
    yarn = {"factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 16.0}
    old = {"rope_theta": 5e5, "rope_scaling": {"type": "yarn", **yarn}}
    new = {"rope_theta": None, "rope_parameters": {"rope_type": "yarn", "rope_theta": 5e5, **yarn}}
    with opened(tmp_path / "old", old) as first, opened(tmp_path / "new", new) as second:
        for source in (first, second):
            found = values(source)
            assert found["llama.rope.freq_base"] == 5e5
            assert found["llama.rope.scaling.type"] == "yarn"
            assert found["llama.rope.scaling.factor"] == 4.0
            assert found["llama.rope.scaling.original_context_length"] == 32
            assert found["llama.rope.scaling.yarn_beta_fast"] == 16.0
            assert "llama.rope.scaling.yarn_beta_slow" not in found


def test_llama3_frequencies_are_those_of_transformers(tmp_path: Path) -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = {"head_dim": 128, "rope_theta": 500000.0, "rope_scaling": LLAMA3_ROPE, "max_position_embeddings": 131072}
    with opened(tmp_path, config) as source:
        assert source.tensors[1].name == "rope_freqs.weight"
        factors = source.read(source.tensors[1])[0]
        assert values(source)["llama.attention.key_length"] == 128
        assert "llama.rope.scaling.type" not in values(source)
    rope = {**LLAMA3_ROPE, "rope_theta": 500000.0}
    theirs = LlamaConfig(hidden_size=64, num_attention_heads=4, head_dim=128, rope_parameters=rope)
    theirs.max_position_embeddings = 131072
    frequencies, _ = ROPE_INIT_FUNCTIONS["llama3"](theirs, "cpu")
    plain = 1 / 500000.0 ** (np.arange(0, 128, 2) / 128)
    np.testing.assert_allclose(plain / factors, frequencies.numpy(), rtol=1e-5)
    assert factors.min() == 1
    assert factors.max() == 32


def test_head_length_follows_or_is_given(tmp_path: Path) -> None:
    with opened(tmp_path / "usual") as source:
        assert values(source)["llama.rope.dimension_count"] == 16
        assert values(source)["llama.attention.key_length"] == 16
    with opened(tmp_path / "own", {"head_dim": 32}) as source:
        found = values(source)
        assert found["llama.rope.dimension_count"] == found["llama.attention.value_length"] == 32
        assert source.tensor("blk.0.attn_q.weight").shape == (128, 64)


def test_mistral_and_its_window(tmp_path: Path) -> None:
    mistral = {"architectures": ["MistralForCausalLM"], "sliding_window": 32}
    with opened(tmp_path, mistral) as source:
        assert source.architecture == "llama"
        assert "last 32 tokens" in source.warnings[0]


def test_model_card_and_cache_folder(tmp_path: Path) -> None:
    folder = tmp_path / "models--Someone--Tiny-Llama" / "snapshots" / "0123abcd"
    card = "---\nlanguage:\n- en\nlicense: other  \nlicense_name: 'tiny license'\n---\nlicense: mit\n"
    with opened(folder, README__md=card) as source:
        found = values(source)
        assert (source.name, found["general.name"]) == ("Tiny-Llama", "Tiny-Llama")
        assert source.license == found["general.license"] == "other"
        assert found["general.license.name"] == "tiny license"
        assert found["general.type"] == "model"


# ---------------------------------------------------------------- tokenizers


def test_byte_level_bpe(tmp_path: Path) -> None:
    tokenizer = hf_tiny.tokenizer()
    flags = {"single_word": False, "lstrip": False, "rstrip": False}
    tokenizer["added_tokens"] += [
        {"id": 300, "content": "<think>", "special": False, "normalized": False, **flags},
        {"id": 301, "content": "<|tool|>", "special": False, "normalized": True, **flags},
        {"id": 400, "content": "<beyond>", "special": False, "normalized": True, **flags},
    ]
    with opened(tmp_path, tokenizer__json=tokenizer) as source:
        found = values(source)
        assert "1 of its tokens" in source.warnings[0]
        assert source.hyper.vocabulary == 320
    tokens, kinds = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
    assert len(tokens) == len(kinds) == 320
    assert tokens[:2] == ["<|begin|>", "<|end|>"]
    assert kinds[:3] == [CONTROL, CONTROL, NORMAL]
    assert (tokens[300], kinds[300]) == ("<think>", USER_DEFINED)
    assert kinds[301] == CONTROL
    assert (tokens[302], kinds[302], tokens[319]) == ("[PAD302]", UNUSED, "[PAD319]")
    assert {token: number for number, token in enumerate(tokens[:300])} == tokenizer["model"]["vocab"]
    assert found["tokenizer.ggml.merges"] == [" ".join(pair) for pair in tokenizer["model"]["merges"]]
    assert (found["tokenizer.ggml.bos_token_id"], found["tokenizer.ggml.eos_token_id"]) == (0, 1)
    assert found["tokenizer.ggml.add_bos_token"] is False
    assert "tokenizer.ggml.add_eos_token" not in found


def test_merges_of_both_forms(tmp_path: Path) -> None:
    tokenizer = hf_tiny.tokenizer()
    pairs = tokenizer["model"]["merges"]
    assert isinstance(pairs[0], list)
    as_lines = {**tokenizer, "model": {**tokenizer["model"], "merges": [" ".join(pair) for pair in pairs]}}
    with opened(tmp_path / "a", tokenizer__json=tokenizer) as a, opened(tmp_path / "b", tokenizer__json=as_lines) as b:
        assert values(a)["tokenizer.ggml.merges"] == values(b)["tokenizer.ggml.merges"]


def test_splitting_rules_are_recognised_without_the_hash(tmp_path: Path) -> None:
    assert len(BY_HASH) == sum(len(row.hashes) for row in ROWS)
    with opened(tmp_path / "digits") as source:
        assert values(source)["tokenizer.ggml.pre"] == "smollm"
    with opened(tmp_path / "gpt2", tokenizer__json=hf_tiny.tokenizer(digits=False)) as source:
        assert values(source)["tokenizer.ggml.pre"] == "gpt-2"
        assert source.warnings == ()
    for rules, (name, *_) in BY_RULES.items():
        if not rules[0].startswith("split "):
            continue
        tokenizer = hf_tiny.tokenizer()
        split = {"type": "Split", "pattern": {"Regex": rules[0].removeprefix("split ")}, "behavior": "Isolated"}
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        steps = [{**split, "invert": False}, byte_level]
        tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
        with opened(tmp_path / name, tokenizer__json=tokenizer) as source:
            assert values(source)["tokenizer.ggml.pre"] == name


def test_unknown_splitting_rules_are_said_aloud(tmp_path: Path) -> None:
    tokenizer = hf_tiny.tokenizer()
    tokenizer["pre_tokenizer"]["pretokenizers"][0] = {"type": "Punctuation", "behavior": "Isolated"}
    with opened(tmp_path, tokenizer__json=tokenizer) as source:
        assert values(source)["tokenizer.ggml.pre"] == LLAMA.default_pre
        assert "was not recognised" in source.warnings[0]


def test_special_tokens_around_a_text(tmp_path: Path) -> None:
    tokenizer = hf_tiny.tokenizer()
    begin = {"SpecialToken": {"id": "<|begin|>", "type_id": 0}}
    single = [begin, {"Sequence": {"id": "A", "type_id": 0}}]
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|begin|>": {"id": "<|begin|>", "ids": [0], "tokens": ["<|begin|>"]}},
    }
    with opened(tmp_path / "template", tokenizer__json=tokenizer) as source:
        assert values(source)["tokenizer.ggml.add_bos_token"] is True
    own = {"add_bos_token": False, "add_eos_token": True}
    with opened(tmp_path / "config", tokenizer__json=tokenizer, tokenizer_config__json=own) as source:
        assert values(source)["tokenizer.ggml.add_bos_token"] is False
        assert values(source)["tokenizer.ggml.add_eos_token"] is True


def test_special_numbers_come_from_the_other_files_too(tmp_path: Path) -> None:
    config = {"bos_token_id": 0, "pad_token_id": 7}
    generation = {"eos_token_id": [1, 5], "pad_token_id": 9}
    with opened(tmp_path, config, tokenizer_config__json=None, generation_config__json=generation) as source:
        found = values(source)
    assert found["tokenizer.ggml.bos_token_id"] == 0
    assert found["tokenizer.ggml.eos_token_id"] == 1
    assert found["tokenizer.ggml.padding_token_id"] == 7


def test_chat_templates_are_copied_verbatim(tmp_path: Path) -> None:
    template = "{% for message in messages %}\r\n{{ message['content'] }}\n{% endfor %} ü"
    with opened(tmp_path / "jinja", chat_template__jinja=template.encode()) as source:
        assert source.has_chat_template
        assert values(source)["tokenizer.chat_template"] == template
    named = [{"name": "default", "template": template}, {"name": "tool_use", "template": "tools"}]
    with opened(tmp_path / "named", tokenizer_config__json={"chat_template": named}) as source:
        assert values(source)["tokenizer.chat_template"] == template
        assert values(source)["tokenizer.chat_template.tool_use"] == "tools"
    with opened(tmp_path / "none") as source:
        assert not source.has_chat_template
        assert "tokenizer.chat_template" not in values(source)


def test_tokenizers_that_cannot_be_converted(tmp_path: Path) -> None:
    unigram = {"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}
    cases: dict[str, tuple[Any, type[errors.BitwrightError], str]] = {
        "missing": (None, errors.NotAModel, "tokenizer"),
        "unigram": (unigram, errors.CannotConvert, "Unigram"),
        "broken": ("{", errors.InvalidHeader, "JSON"),
        "no vocabulary": ({**hf_tiny.tokenizer(), "model": {"type": "BPE", "merges": []}}, errors.InvalidHeader, ""),
        "odd": ({**hf_tiny.tokenizer(), "model": [1]}, errors.InvalidHeader, "expected form"),
        "odd tokens": ({**hf_tiny.tokenizer(), "added_tokens": [5]}, errors.InvalidHeader, ""),
    }
    for name, (tokenizer, leaf, words) in cases.items():
        with opened(tmp_path / name, tokenizer__json=tokenizer) as source, pytest.raises(leaf) as caught:
            values(source)
        assert words in caught.value.line


def test_tokens_that_look_special() -> None:
    assert all(looks_special(token) for token in ("<|im_end|>", "<｜User｜>", "<unused7>", "<pad>"))
    assert not any(looks_special(token) for token in ("<think>", "|>", "word", "<0x0A>"))


# ---------------------------------------------------------------- SentencePiece


def proto(number: int, wire: int, body: bytes) -> bytes:
    return bytes([number << 3 | wire]) + body


def delimited(number: int, body: bytes) -> bytes:
    assert len(body) < 128
    return proto(number, 2, bytes([len(body)]) + body)


def sentencepiece(pieces: list[tuple[str, float, int]], adds_space: bool = True) -> bytes:
    """A tokenizer.model written by the rules of protocol buffers."""
    model = b""
    for text, score, kind in pieces:
        body = delimited(1, text.encode()) + proto(2, 5, struct.pack("<f", score))
        model += delimited(1, body + (b"" if kind == 1 else proto(3, 0, bytes([kind]))))
    return model + delimited(2, proto(3, 0, b"\x02")) + delimited(3, proto(3, 0, bytes([adds_space])))


PIECES = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
PIECES += [(f"<0x{number:02X}>", 0.0, 6) for number in range(256)]
PIECES += [("\u2581", -1.0, 1), ("\u2581the", -2.5, 1), ("ü", -3.0, 1)]


def test_sentencepiece(tmp_path: Path) -> None:
    config = {
        "bos_token": "<s>",
        "eos_token": {"content": "</s>"},
        "add_bos_token": True,
        "added_tokens_decoder": {
            "1": {"content": "<s>", "special": True},
            "262": {"content": "[INST]", "special": False},
            "263": {"content": "<|im_end|>", "special": True},
        },
    }
    files = {"tokenizer__json": None, "tokenizer__model": sentencepiece(PIECES), "tokenizer_config__json": config}
    with opened(tmp_path, **files) as source:
        found = values(source)
    assert found["tokenizer.ggml.model"] == "llama"
    tokens, kinds, scores = (found[f"tokenizer.ggml.{name}"] for name in ("tokens", "token_type", "scores"))
    table = [*zip(tokens, scores, kinds, strict=True)]
    assert table[:1] + table[2:262] == PIECES[:1] + PIECES[2:]
    assert (tokens[1], kinds[1], scores[1]) == ("<s>", CONTROL, -1000.0)
    assert (tokens[262], kinds[262], scores[262]) == ("[INST]", USER_DEFINED, -1000.0)
    assert (tokens[263], kinds[263]) == ("<|im_end|>", CONTROL)
    assert (tokens[319], kinds[319], scores[319]) == ("[PAD319]", UNUSED, -10000.0)
    assert (found["tokenizer.ggml.bos_token_id"], found["tokenizer.ggml.eos_token_id"]) == (1, 2)
    assert found["tokenizer.ggml.add_bos_token"] is True
    assert found["tokenizer.ggml.add_space_prefix"] is True
    assert "tokenizer.ggml.merges" not in found


@pytest.mark.parametrize(
    "damage", [b"", b"\x0a", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0b", b"version"]
)
def test_damaged_sentencepiece(tmp_path: Path, damage: bytes) -> None:
    source = opened(tmp_path, tokenizer__json=None, tokenizer__model=damage)
    with source, pytest.raises(errors.InvalidHeader) as caught:
        values(source)
    assert "SentencePiece" in caught.value.line


# ---------------------------------------------------------------- the result in other programs


def written(source: Source, path: Path, kind: str) -> Path:
    """The source as a GGUF with matrices of one float type, written in pieces as the pipeline does it."""
    from kernels import dispatch

    slots = [TensorSlot(t.name, t.shape, kind if len(t.shape) > 1 else "F32") for t in source.tensors]
    metadata = [*source.metadata, KeyValue("general.file_type", "UINT32", {"F16": 1, "BF16": 32}[kind])]
    with path.open("wb") as file:
        writer = GGUFWriter(file, metadata, layout(metadata, slots))
        for tensor, slot in zip(source.tensors, slots, strict=True):
            for first in range(0, tensor.rows, 4096):
                count = min(4096, tensor.rows - first)
                rows = (
                    source.raw(tensor, first, count)
                    if tensor.type == slot.type
                    else dispatch.encode(slot.type, source.read(tensor, first, count))
                )
                writer.append(tensor.name, rows)
        writer.finish()
    return path


def answer(path: Path, prompt: str) -> str:
    job = ChatJob(model=str(path), prompt=prompt, sampling=Sampling(temperature=0, max_tokens=8), context=128)
    result = engine.run(job)
    assert isinstance(result, ChatResult)
    return result.turns[0].text


def test_converted_sample_answers_in_llama_cpp(hf_folder: Path, tmp_path: Path) -> None:
    with open_source(hf_folder) as source:
        path = written(source, tmp_path / "sample-f16.gguf", "F16")
        reader = gguf.GGUFReader(path)
        assert [tensor.name for tensor in reader.tensors] == [tensor.name for tensor in source.tensors]
    assert "Paris" in answer(path, "The capital of France is")


@pytest.mark.parametrize("kind", ["untied", "biased", "sentencepiece", "llama3"])
def test_tiny_variants_load_in_llama_cpp(tmp_path: Path, kind: str) -> None:
    """llama.cpp checks every tensor's shape and every key it needs when it loads a model."""
    weights, config, files = None, {}, {}
    if kind == "untied":
        config = {"tie_word_embeddings": False, "head_dim": 32}
    elif kind == "biased":
        weights = hf_tiny.tensors(hf_tiny.CONFIG)
        parts = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj")
        weights |= {
            f"model.layers.{layer}.{part}.bias": weights[f"model.layers.{layer}.{part}.weight"][:, 0].copy()
            for layer in range(2)
            for part in parts
        }
    elif kind == "sentencepiece":
        files = {"tokenizer.json": None, "tokenizer.model": sentencepiece(PIECES)}
        files["tokenizer_config.json"] = {"bos_token": "<s>", "eos_token": "</s>"}
    else:
        config = {"rope_scaling": LLAMA3_ROPE}
    with open_source(hf_tiny.build(tmp_path / "tiny", config, weights, files)) as source:
        path = written(source, tmp_path / "tiny.gguf", "F16")
    answer(path, "the fox")
