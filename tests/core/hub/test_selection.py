"""What of a repository is downloaded, what is left, and which names are refused."""

from __future__ import annotations

import pytest

from core.errors import NothingToDownload, SeveralModels
from core.hub.names import is_repo, problem_of
from core.hub.selection import select

SAFE = ["config.json", "model.safetensors", "tokenizer.json"]


@pytest.mark.parametrize(
    ("names", "left"),
    [
        ([*SAFE, "pytorch_model.bin"], ["pytorch_model.bin"]),
        ([*SAFE, "original/params.json", "original/consolidated.00.pth"], ["original/params.json",
            "original/consolidated.00.pth"]),
        ([*SAFE, "consolidated.safetensors"], ["consolidated.safetensors"]),
        ([*SAFE, "onnx/model.onnx", "model.onnx_data"], ["onnx/model.onnx", "model.onnx_data"]),
        ([*SAFE, "model.fp16.safetensors"], ["model.fp16.safetensors"]),
        ([*SAFE, "tf_model.h5", "flax_model.msgpack", "optimizer.pt"], ["tf_model.h5", "flax_model.msgpack",
            "optimizer.pt"]),
        ([*SAFE, "modeling.py", ".gitattributes", "logo.png"], ["modeling.py", ".gitattributes", "logo.png"]),
        ([*SAFE, "small.gguf"], ["small.gguf"]),
        ([*SAFE, "chat_template.jinja", "LICENSE", "additional_chat_templates/tool.jinja"], []),
        (["config.json", "pytorch_model.bin", "tokenizer.model"], []),
        (["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"], []),
        (["BF16/a.gguf", "README.md"], []),
    ],
)  # fmt: skip
def test_what_a_quantization_does_not_need_is_left(names, left):
    wanted, reasons = select("o/m", names)
    assert sorted(reasons) == sorted(left)
    assert wanted == [name for name in names if name not in left]
    assert all(reasons.values())


def test_patterns_choose_instead_of_the_rules():
    wanted, reasons = select("o/m", ["a-Q4_0.gguf", "a-Q8_0.gguf", "b.bin"], ["*Q8_0*", "*.bin"])
    assert wanted == ["a-Q8_0.gguf", "b.bin"]
    assert set(reasons) == {"a-Q4_0.gguf"}


def test_one_of_several_models_must_be_chosen():
    with pytest.raises(SeveralModels, match=r"a-Q4_0\.gguf"):
        select("o/m", ["a-Q4_0.gguf", "a-Q8_0.gguf"])


@pytest.mark.parametrize(("names", "include"), [(["README.md"], []), (SAFE, ["*.gguf"]), ([], [])])
def test_nothing_of_use_is_an_error(names, include):
    with pytest.raises(NothingToDownload):
        select("o/m", names, include)


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/passwd", "C:/x", "a\\..\\b", "", "a//b", "./a", "a/.", "a\n", "a\x00b", "x" * 300,
     "ä" * 200, "d/" * 600 + "x", "NUL", "a/con.txt", "\ud800"],
)  # fmt: skip
def test_names_that_must_not_become_paths(name):
    assert problem_of(name)


@pytest.mark.parametrize("name", ["a.json", "a/b/c.txt", "größe.txt", "x" * 255, "..a", "a..b", "console.txt"])
def test_usual_names(name):
    assert problem_of(name) == ""


@pytest.mark.parametrize(
    ("text", "answer"),
    [("a/b", True), ("Qwen/Qwen3-0.6B", True), ("a", False), ("a/b/c", False), ("../b", False), ("a/..", False)],
)
def test_ids(text, answer):
    assert is_repo(text) is answer
