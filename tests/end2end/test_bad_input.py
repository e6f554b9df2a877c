"""Bad input of every kind: one line that says what is wrong and what to do, code 2, nothing written, little memory."""

from __future__ import annotations

import json
import os
import struct
import sys

import pytest

from core.formats.gguf_layout import KeyValue
from tests.core.small_models import metadata, small_model, weights, write
from tests.end2end.command import run

MOST_BYTES = 300e6


def llama_config() -> dict:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 32,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
    }


def truncated(folder, sample):
    path = folder / "truncated.gguf"
    path.write_bytes(sample.read_bytes()[:50_000_000])
    return path


def truncated_in_its_header(folder, sample):
    path = folder / "header.gguf"
    path.write_bytes(sample.read_bytes()[:500_000])
    return path


def too_many_tensors(folder, sample):
    path = folder / "many.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1) + bytes(200))
    return path


def too_long_a_string(folder, sample):
    path = folder / "string.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQQ", 3, 1, 1, 1 << 62) + bytes(200))
    return path


def ten_gigabyte_header(folder, sample):
    model = folder / "huge"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(llama_config()))
    with (model / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 10 << 30))
        file.truncate(11 << 30)  # a sparse file: the header would be there to be read
    return model


def no_config(folder, sample):
    model = folder / "bare"
    model.mkdir()
    (model / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    return model


def unknown_architecture(folder, sample):
    model = folder / "novel"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(llama_config() | {"architectures": ["NovelForCausalLM"]}))
    (model / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    return model


def no_model_at_all(folder, sample):
    path = folder / "notes.gguf"
    path.write_text("not a model, just a text that is long enough to be one")
    return path


def nothing_there(folder, sample):
    return folder / "gone.gguf"


def quantized_already(folder, sample):
    return sample


SOURCES = [
    (truncated, "is incomplete"),
    (truncated_in_its_header, "is incomplete"),
    (too_many_tensors, "1152921504606846976 tensors"),
    (too_long_a_string, "damaged header"),
    (ten_gigabyte_header, "10.0 GiB"),
    (no_config, "config.json is missing"),
    (unknown_architecture, "NovelForCausalLM"),
    (no_model_at_all, "GGUF"),
    (nothing_there, "does not exist"),
    (quantized_already, "--allow-requantize"),
]


def check(ran, words):
    assert ran.code == 2, ran
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert words in ran.err
    assert "Traceback" not in ran.err
    if sys.platform == "linux":
        assert ran.peak_bytes < MOST_BYTES


@pytest.fixture
def places(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    return tmp_path / "in", tmp_path / "out"


@pytest.mark.parametrize(("make", "words"), SOURCES, ids=lambda value: getattr(value, "__name__", ""))
def test_sources(places, sample, make, words):
    inside, outside = places
    source = make(inside, sample)
    check(run("quantize", source, "--to", "Q4_K_M", "--out", outside / "o.gguf"), words)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("make", [too_many_tensors, ten_gigabyte_header, truncated_in_its_header])
@pytest.mark.parametrize("command", ["inspect", "verify", "chat"])
def test_other_commands_refuse_the_same_files(places, sample, make, command):
    prompt = ["--prompt", "Hello"] if command == "chat" else []
    ran = run(command, make(places[0], sample), *prompt, "--json")
    check(ran, "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--to", "Q4_K_N"], "There is no quantization type Q4_K_N. Did you mean Q4_K"),
        (["--to", "banana"], "Choose one of Q8_0"),
        (["--to", "Q8_0", "--tensor-type", "blk.0.attn_w.weight=Q8_0"], "Did you mean blk."),
        (["--to", "Q8_0", "--tensor-type", "output.weight"], "not of the form NAME=TYPE"),
        (["--to", "Q8_0", "--tensor-type", "blk.0.attn_norm.weight=Q8_0"], "always stays in F32"),
        (["--to", "Q8_0", "--threads", "-3"], "--threads"),
        (["--to", "Q8_0", "--device", "abacus"], "--device"),
        (["--to", "Q8_0", "--frobnicate"], "--frobnicate"),
    ],
)
def test_options(places, words, told):
    inside, outside = places
    source = small_model(inside / "small.gguf")
    check(run("quantize", source, "--out", outside / "o.gguf", *words), told)
    assert list(outside.iterdir()) == []


def a_missing_folder(outside):
    return outside / "missing" / "o.gguf"


def a_file_where_a_folder_should_be(outside):
    (outside / "file").write_text("")
    return outside / "file" / "o.gguf"


def a_read_only_folder(outside):
    if not hasattr(os, "geteuid"):
        pytest.skip("folders have other permissions here")
    if os.geteuid() == 0:
        return "/proc/o.gguf"  # the one folder in which even root cannot write
    (outside / "locked").mkdir(mode=0o555)
    return outside / "locked" / "o.gguf"


@pytest.mark.parametrize("make", [a_missing_folder, a_file_where_a_folder_should_be, a_read_only_folder])
def test_outputs_that_cannot_be_written(places, make):
    inside, outside = places
    output = make(outside)
    before = sorted(outside.rglob("*"))
    check(run("quantize", small_model(inside / "s.gguf"), "--to", "Q8_0", "--out", output), "cannot be written")
    assert sorted(outside.rglob("*")) == before


def test_unknown_architecture_of_a_gguf_is_no_obstacle(places):
    inside, outside = places
    keys = [KeyValue("general.architecture", "STRING", "novel"), *metadata()[1:]]
    source = write(inside / "novel.gguf", weights(), keys=keys)
    assert run("quantize", source, "--to", "Q8_0", "--out", outside / "o.gguf").code == 0


def test_usage_errors_are_one_line_too():
    for words in (["bake"], ["quantize"], ["chat", "m.gguf"], ["--frobnicate"]):
        check(run(*words), "--help")


def test_debug_shows_where(places):
    ran = run("inspect", places[0] / "gone.gguf", "--debug")
    assert ran.code == 2
    assert "Traceback" in ran.err
    assert ran.err.strip().splitlines()[-1].startswith("error: ")
