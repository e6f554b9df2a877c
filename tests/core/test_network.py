"""The layered network against transformers' whole models, for a tiny random model of every family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from core import engine
from core.catalog import sample_path
from core.errors import CannotRun
from core.families import FAMILIES
from core.jobs import ChatJob, Message, QuantizeJob, QuantizeOptions, Sampling
from core.network.network import Network, open_network
from core.network.rows import ROWS
from core.network.tokenizer import Tokenizer
from core.sources import open_source
from tests.core import hf_families, small_models

IDS = np.random.default_rng(3).integers(3, 300, (2, 24))


def layered(network: Network, ids: np.ndarray) -> torch.Tensor:
    """All logits, layer by layer."""
    with torch.no_grad():
        hidden = network.embed(ids)
        for number in range(network.layers):
            with network.layer(number) as layer:
                hidden = layer(hidden)
        return network.logits(hidden)


def logits_of(path: Path) -> torch.Tensor:
    with open_source(path) as source, open_network(source) as network:
        return layered(network, IDS)


def whole(folder: Path) -> Any:
    """The whole model of a folder; of one that also sees, the language model."""
    config = AutoConfig.from_pretrained(folder)
    if config.model_type == "bitnet":
        return ternary(config, load_file(folder / "model.safetensors"))
    if not hasattr(config, "text_config"):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        return model.eval()
    stored = load_file(folder / "model.safetensors")
    weights = {
        name.removeprefix("language_model."): tensor.float()
        for name, tensor in stored.items()
        if name.startswith("language_model.")
    }
    model = AutoModelForCausalLM.from_config(config.text_config, attn_implementation="eager")
    assert model.load_state_dict(weights, strict=False).missing_keys == ["lm_head.weight"]
    model.tie_weights()
    return model.eval()


def ternary(config: Any, stored: dict[str, torch.Tensor]) -> Any:
    """A BitNet under transformers' names of its norms, its projections rounded as its training rounds them."""
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    weights = {}
    for name, tensor in stored.items():
        renamed = name.replace("inner_attn_ln", "attn_sub_norm").replace("ffn_layernorm", "ffn_sub_norm")
        full = tensor.float()
        size = full.abs().mean()
        weights[renamed] = (full / size).round().clamp(-1, 1) * size if "proj" in name else full
    assert model.load_state_dict(weights, strict=False).missing_keys == ["lm_head.weight"]
    model.tie_weights()
    return model.eval()


def test_every_family_can_be_run():
    assert {row.family.label for row in ROWS} == {family.label for family in FAMILIES}


@pytest.mark.parametrize("name", hf_families.MODELS)
def test_logits_are_those_of_transformers(name, tmp_path):
    folder = hf_families.build(name, tmp_path / "tiny")
    with torch.no_grad():
        expected = whole(folder)(torch.from_numpy(IDS)).logits
    close = {"rtol": 1e-4, "atol": 1e-4 * float(expected.std())}
    torch.testing.assert_close(logits_of(folder), expected, **close)
    out = tmp_path / "tiny.gguf"
    engine.run(QuantizeJob(source=str(folder), output=str(out), options=QuantizeOptions(target="F32")))
    torch.testing.assert_close(logits_of(out), expected, **close)


def test_one_layer_at_a_time_has_weights(tmp_path):
    with open_source(hf_families.build("qwen3moe", tmp_path / "tiny")) as source, open_network(source) as network:
        hidden = network.embed(IDS)
        for number in range(network.layers):
            assert live(network) == 0
            with network.layer(number) as layer:
                names = {name for name in (tensor.name for tensor in source.tensors) if f"blk.{number}." in name}
                assert live(network) == sum(source.tensor(name).elements for name in names)
                hidden = layer(hidden)
        assert live(network) == 0


def live(network: Network) -> int:
    """How many weights of decoder layers are in memory."""
    return sum(weight.numel() for layer in network._layers for weight in layer.parameters() if not weight.is_meta)


def test_linears_are_named_as_in_gguf_and_hold_its_rows(tmp_path):
    with open_source(hf_families.build("mixtral", tmp_path / "tiny")) as source, open_network(source) as network:
        matrices = {t.name for t in source.tensors if t.name.startswith("blk.1.") and len(t.shape) > 1}
        with network.layer(1) as layer:
            assert set(layer.linears) == matrices
            for name, linear in layer.linears.items():
                stored = source.read(source.tensor(name)).reshape(len(linear.modules), -1, linear.columns)
                for number, module in enumerate(linear.modules):
                    weight = module.get_parameter("weight").numpy()
                    rows = weight if linear.row_order is None else weight[linear.row_order]
                    assert np.array_equal(rows, stored[number])


def test_tiles_of_the_vocabulary_make_the_whole(tmp_path):
    with open_source(hf_families.build("gemma2", tmp_path / "tiny")) as source, open_network(source) as network:
        hidden = torch.randn(1, 5, network.width)
        tiles = [(first, tile.clone()) for first, tile in network.logit_tiles(hidden, rows=100)]
        assert [first for first, _ in tiles] == [0, 100, 200, 300]
        torch.testing.assert_close(torch.cat([tile for _, tile in tiles], -1), network.logits(hidden))


def test_what_cannot_be_run_is_said(tmp_path):
    for name, keys, words in (
        ("odd", small_models.metadata(architecture="rwkv7"), "rwkv7"),
        ("bare", small_models.metadata(), "embedding_length"),
    ):
        path = small_models.write(tmp_path / f"{name}.gguf", small_models.weights(), keys=keys)
        with open_source(path) as source, pytest.raises(CannotRun, match=words):
            open_network(source)


@pytest.mark.parametrize("lost", ["blk.1.attn_q.weight", "blk.1.ffn_norm.weight"])
def test_a_missing_tensor_is_named(tmp_path, lost):
    folder = hf_families.build("llama-tied", tmp_path / "tiny")
    with open_source(folder) as source:
        source.tensors = tuple(tensor for tensor in source.tensors if tensor.name != lost)
        with open_network(source) as network, pytest.raises(CannotRun, match=lost), network.layer(1):
            pass


def test_the_tokenizer_is_llama_cpps(tmp_path):
    path = sample_path()
    assert path is not None
    with open_source(path) as source, open_network(source) as network:
        tokenizer = network.tokenizer
        assert tokenizer.bos is None
        assert tokenizer.encode("Hello world").tolist() == [19556, 905]
        assert tokenizer.encode("<|im_start|>").size > 1
        assert tokenizer.encode("<|im_start|>", special=True).tolist() == [1]
        assert tokenizer.decode([19556, 905]) == "Hello world"
        turns = (Message(role="user", content="Hi"), Message(role="assistant", content="Yes?"))
        assert tokenizer.chat(turns).count("<|im_start|>") == 3
    with open_source(hf_families.build("mistral-sentencepiece", tmp_path / "tiny")) as source:
        tokenizer = Tokenizer(source)
        assert tokenizer.bos == 1
        folder = tokenizer._folder
        tokenizer.close()
        assert not folder.exists()


def test_the_sample_answers_as_in_llama_cpp():
    path = sample_path()
    assert path is not None
    prompt = "What is the capital of France?"
    answer = engine.run(ChatJob(model=str(path), prompt=prompt, sampling=Sampling(temperature=0, max_tokens=6)))
    with open_source(path) as source, open_network(source) as network:
        turns = (Message(role="system", content=""), Message(role="user", content=prompt))
        ids = network.tokenizer.encode(network.tokenizer.chat(turns, answer=True), special=True)
        said: list[int] = []
        for _ in range(6):
            logits = layered(network, np.concatenate([ids, np.array(said, np.int64)])[None])
            said.append(int(logits[0, -1].argmax()))
        assert network.tokenizer.decode(said).strip() == answer.turns[0].text.strip()
