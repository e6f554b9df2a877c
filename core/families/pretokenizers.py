"""Recognises how a byte-level BPE tokenizer splits text into words, which GGUF stores as a name (tokenizer.ggml.pre).

llama.cpp has the splitting rules built in under these names, and its converter recognises a tokenizer by the SHA-256
of the token numbers of one check text. A fine-tune with another vocabulary has another hash but the same rules, so
the rules themselves, as tokenizer.json states them, are the second way. Hashes and check text: conversion/base.py of
ggml-org/llama.cpp; rules: the tokenizer.json of the models named there, and src/llama-vocab.cpp.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

CHECK_TEXT = (
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n"
    "🚀 (normal) 😶\u200d🌫️ (multiple emojis concatenated) ✅ 🦙🦙 3 33 333 3333 33333 333333 3333333 33333333 "
    "3.3 3..3 3...3 កាន់តែពិសេសអាច😁 ?我想在apple工作1314151天～ ------======= нещо на Български "
    "''''''```````\"\"\"\"......!!!!!!?????? I've been 'told he's there, 'RE you sure? 'M not sure I'll make it, "
    "'D you like some tea? We'Ve a'lL"
)
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """One name and what it is recognised by. rules: the steps of tokenizer.json, see `rules_of`; () for none."""

    name: str
    hashes: tuple[str, ...]
    rules: tuple[str, ...] = ()


ROWS: tuple[PreTokenizer, ...] = (
    PreTokenizer(
        "llama-bpe", ("0ef9807a4087ebef797fc749390439009c3b9eda9ad1a097abbe738f486c01e5",), (f"split {_LLAMA3}",)
    ),
    PreTokenizer(
        "smollm", ("855059429035d75a914d1eda9f10a876752e281a054a7a3d421ef0533e5b6249",), ("digits", "words of gpt-2")
    ),
    PreTokenizer("gpt-2", ("3ce83efda5659b07b1ad37ca97ca5797ea4285d9b9ab0dc679e4a720c9da7454",), ("words of gpt-2",)),
    PreTokenizer(
        "qwen2",
        (
            "e636dc30a262dcc0d8c323492e32ae2b70728f4df7dfe9737d9f920a282b8aea",
            "d4540891389ea895b53b399da6ac824becc30f2fba0e9ddbb98f92e55ca0e97c",
        ),
        (f"split {_QWEN2}",),
    ),
    PreTokenizer(
        "tekken", ("63b97e4253352e6f357cc59ea5b583e3a680eaeaf2632188c2b952de2588485e",), (f"split {_TEKKEN}",)
    ),
    PreTokenizer("deepseek-llm", ("049ecf7629871e3041641907f3de7c733e4dbfdc736f57d882ba0b0845599754",)),
    PreTokenizer("deepseek-coder", ("347715f544604f9118bb75ed199f68779f423cabb20db6de6f31b908d04d7821",)),
    PreTokenizer("falcon3", ("9d032fcbd5501f4a38150912590928bfb36091efb5df11b8e2124b0390e3fb1e",)),
    PreTokenizer("starcoder", ("35d91631860c815f952d711435f48d356ebac988362536bed955d43bfa436e34",)),
    PreTokenizer("refact", ("6221ad2852e85ce96f791f476e0b390cf9b474c9e3d1362f53a24a06dc8220ff",)),
    PreTokenizer("command-r", ("9c2227e4dd922002fb81bde4fc02b0483ca4f12911410dee2255e4987644e3f8",)),
    PreTokenizer("smaug-bpe", ("c136ed14d01c2745d4f60a9596ae66800e2b61fa45643e72436041855ad4089d",)),
    PreTokenizer("poro-chat", ("c7ea5862a53e4272c035c8238367063e2b270d51faa48c0f09e9d5b54746c360",)),
    PreTokenizer("viking", ("7fc505bd3104ca1083b150b17d088b59534ede9bde81f0dd2090967d7fe52cee",)),
    PreTokenizer("minerva-7b", ("1431a23e583c97432bc230bff598d103ddb5a1f89960c8f1d1051aaa944d0b35",)),
    PreTokenizer("megrez", ("d4c8f286ea6b520b3d495c4455483cfa2302c0cfcd4be05d781b6a8a0a7cdaf1",)),
    PreTokenizer("trillion", ("1994ffd01900cfb37395608534236ecd63f2bd5995d6cb1004dda1af50240f15",)),
    PreTokenizer("seed-coder", ("d5f1dd6f980fec569fb218a81a7658ac45fc56b38c5a0adeb1c232fbe04ef5ec",)),
    PreTokenizer("pixtral", ("0e9433cbbb161f89e264eb32e8e64bfe69e834973ffca5d41d3948a604a3e2a3",)),
    PreTokenizer("midm-2.0", ("f6791d196f87ce6b56a7d234be618e0d58f8cda3549416635b2bebcd22cd95c4",)),
    PreTokenizer("mellum", ("a1e163ecab2e718a4c829d1148b6e86824ec36163bb71941c3dca9cd5ac25756",)),
)
BY_HASH: dict[str, str] = {digest: row.name for row in ROWS for digest in row.hashes}
BY_RULES: dict[tuple[str, ...], str] = {row.rules: row.name for row in ROWS if row.rules}


def recognised(check_ids: Sequence[int], tokenizer: dict[str, Any]) -> str | None:
    """The name for a tokenizer, or None. check_ids: CHECK_TEXT encoded with it; tokenizer: its tokenizer.json."""
    digest = hashlib.sha256(str(list(check_ids)).encode()).hexdigest()
    return BY_HASH.get(digest) or BY_RULES.get(rules_of(tokenizer))


def rules_of(tokenizer: dict[str, Any]) -> tuple[str, ...]:
    """The splitting steps of a tokenizer.json in words; a normalizer that changes text makes them unknown."""
    normalizer = tokenizer.get("normalizer")
    if normalizer is not None and normalizer.get("type") != "NFC":
        return ("normalized",)
    return tuple(_steps(tokenizer.get("pre_tokenizer") or {}))


def _steps(node: dict[str, Any]) -> Iterator[str]:
    kind = node.get("type")
    if kind == "Sequence":
        for step in node.get("pretokenizers", []):
            yield from _steps(step)
    elif kind == "Split" and node.get("behavior") == "Isolated" and not node.get("invert"):
        yield f"split {(node.get('pattern') or {}).get('Regex')}"
    elif kind == "Digits" and node.get("individual_digits"):
        yield "digits"
    elif kind == "ByteLevel" and not node.get("add_prefix_space"):
        if node.get("use_regex", True):
            yield "words of gpt-2"
    else:
        yield f"unknown {kind}"
