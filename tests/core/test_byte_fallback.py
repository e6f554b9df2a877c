"""Tokenizers of SentencePiece that a folder has as tokenizer.json only: against `tokenizers` and llama.cpp."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Reference
from tokenizers import models, pre_tokenizers, trainers

from core import errors
from core.network.tokenizer import Tokenizer
from core.sources import open_source
from tests.core import hf_tiny

SPACE = "\u2581"
TEXTS = (
    "the quick brown fox",
    "jumps  over   the lazy dog, one two three",
    "unknown: ünïcödé 🚀 and 日本",
    "<start> the fox <end>",
    "a\nb\tc",
    "",
)
SPECIAL = ("<unk>", "<s>", "</s>", "<start>", "<end>")
GEMMA = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
LLAMA = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, GEMMA]}
METASPACE = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "first", "split": False}


def pieces() -> list[str]:
    """Pieces of more than one character, the first to be merged first."""
    trained = Reference(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    trained.train_from_iterator(hf_tiny.TEXT * 20, trainers.BpeTrainer(vocab_size=90, show_progress=False))
    merges = json.loads(trained.to_str())["model"]["merges"]
    return ["".join(merge) for merge in merges]


def tokenizer(normalizer: Any, pre_tokenizer: Any = None) -> dict[str, Any]:
    """As transformers writes what it made of a tokenizer.model: every way to put a piece together is a merge."""
    merged = pieces()
    characters = sorted(set("".join(merged)) | {SPACE})
    codes = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = [*SPECIAL[:3], *codes, *merged, *characters, *SPECIAL[3:]]
    numbers = {token: number for number, token in enumerate(tokens)}
    merges = [
        [piece[:at], piece[at:]]
        for piece in merged
        for at in range(1, len(piece))
        if piece[:at] in numbers and piece[at:] in numbers
    ]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": numbers[token], "content": token, **flags} for token in SPECIAL]
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    model = {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": numbers}
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": template,
        "decoder": {"type": "ByteFallback"},
        "model": {**model, "merges": merges},
    }


def folder_of(folder: Path, made: dict[str, Any]) -> Path:
    config = {"vocab_size": 384, "bos_token_id": 1, "eos_token_id": 2}
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    return hf_tiny.build(folder, config=config, files={"tokenizer.json": made, "tokenizer_config.json": names})


@pytest.mark.parametrize(
    ("normalizer", "pre_tokenizer", "prefix"),
    [(GEMMA, None, False), (LLAMA, None, True), (None, METASPACE, True)],
    ids=["gemma", "llama", "metaspace"],
)
def test_llama_cpp_splits_text_as_the_original_does(
    tmp_path: Path, normalizer: Any, pre_tokenizer: Any, prefix: bool
) -> None:
    made = tokenizer(normalizer, pre_tokenizer)
    reference = Reference.from_str(json.dumps(made))
    with open_source(folder_of(tmp_path, made)) as source:
        keys = {entry.key: entry.value for entry in source.metadata}
        assert source.warnings == ()
        assert (keys["tokenizer.ggml.model"], keys["tokenizer.ggml.add_space_prefix"]) == ("llama", prefix)
        assert keys["tokenizer.ggml.add_bos_token"] is True
        assert keys["tokenizer.ggml.token_type"][:4] == [2, 3, 3, 6]
        words = Tokenizer(source)
        try:
            # Metaspace marks the beginning of the text only, llama.cpp what follows a special token, too.
            for text in [text for text in TEXTS if pre_tokenizer is None or "<" not in text]:
                expected = reference.encode(text, add_special_tokens=False).ids
                assert words.encode(text, special=True).tolist() == expected, text
        finally:
            words.close()


def test_merges_of_another_kind_are_warned_of(tmp_path: Path) -> None:
    """A merge is lost that the pieces allow: llama.cpp would still use it."""
    made = tokenizer(GEMMA)
    del made["model"]["merges"][-1]
    with open_source(folder_of(tmp_path, made)) as source:
        assert any("not those of a SentencePiece model" in warning for warning in source.warnings)


@pytest.mark.parametrize(
    ("normalizer", "words"),
    [
        ({"type": "Lowercase"}, "Lowercase"),
        ({"type": "Replace", "pattern": {"Regex": "a+"}, "content": "b"}, "Replace"),
        ({"type": "Replace", "pattern": {"String": " "}, "content": "_"}, "Replace"),
    ],
)
def test_steps_that_change_text_otherwise_are_refused(tmp_path: Path, normalizer: Any, words: str) -> None:
    folder = folder_of(tmp_path, tokenizer(normalizer))
    with open_source(folder) as source, pytest.raises(errors.CannotConvert) as caught:
        source.warnings  # noqa: B018
    assert words in caught.value.line
