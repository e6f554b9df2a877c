"""Converts a tokenizer.json that stands for a SentencePiece model (Gemma, Llama 2) to GGUF's model `llama`.

Such a file is BPE with byte fallback, which transformers makes of a tokenizer.model: its merges are all ways to put a
piece together from two others, the piece with the best score first. llama.cpp works with the pieces and their scores,
so the scores are taken from the order of the merges: only their order counts. Source: SentencePieceExtractor of
transformers' convert_slow_tokenizer, and llm_tokenizer_spm of llama.cpp's src/llama-vocab.cpp.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

from core.errors import CannotConvert
from core.families.byte_level_bpe import Backend, added_tokens, merges_of, switches, vocabulary_of
from core.families.token_table import (
    BYTE,
    CONTROL,
    NORMAL,
    SPM_SPACE,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    ConvertedTokenizer,
    TokenizerFiles,
    TokenTable,
    chat_template,
    looks_special,
    special_keys,
    table_keys,
)
from core.formats.gguf_layout import KeyValue

_UNUSED_SCORE, _ADDED_SCORE = -10000.0, -1000.0
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
# Steps that do nothing but turn spaces into SentencePiece's mark, or put one before the text.
_HARMLESS = frozenset({"Replace", "Metaspace", "Split", "NFC", "Prepend"})


def is_byte_fallback_bpe(tokenizer: dict[str, Any]) -> bool:
    """Whether a tokenizer.json is of this kind; {} is not."""
    model = tokenizer.get("model") or {}
    is_bpe = model.get("type", "BPE") == "BPE" and isinstance(model.get("merges"), list)
    return is_bpe and bool(model.get("byte_fallback"))


def convert_byte_fallback_bpe(files: TokenizerFiles, space_prefix: bool | None = None) -> ConvertedTokenizer:
    """Converts `files`. space_prefix: whether a space is put before the text, None where the file decides.

    Raises CannotConvert, InvalidHeader.
    """
    steps = list(_steps(files.tokenizer.get("normalizer"))) + list(_steps(files.tokenizer.get("pre_tokenizer")))
    problem = next((text for text in map(_problem, steps) if text), "")
    if problem:
        raise CannotConvert(
            str(files.folder), f"its tokenizer.json {problem}, and there is no tokenizer.model beside it"
        )
    table, left_out = _table(files)
    adds_space = any(map(_adds_space, steps)) if space_prefix is None else space_prefix
    entries = [
        KeyValue("tokenizer.ggml.add_space_prefix", "BOOL", adds_space),
        *(entry for entry in switches(files, Backend(files)) if not entry.key.endswith("add_space_prefix")),
        KeyValue("tokenizer.ggml.model", "STRING", "llama"),
        KeyValue("tokenizer.ggml.pre", "STRING", "default"),
        *table_keys(table),
        *special_keys(files, table),
        *chat_template(files),
    ]
    warnings = [f"{left_out} of its tokens have no embedding and are left out"] if left_out else []
    if not _is_sentencepiece(files):
        warnings.append("The merges of its tokenizer.json are not those of a SentencePiece model: answers may suffer")
    return ConvertedTokenizer(tuple(entries), tuple(warnings))


def _steps(node: Any) -> Iterator[dict[str, Any]]:
    """The components of a normalizer or pre-tokenizer, one by one."""
    if not isinstance(node, dict):
        return
    inner = node.get("normalizers") or node.get("pretokenizers")
    if inner is None:
        yield node
    for step in inner or ():
        yield from _steps(step)


def _problem(step: dict[str, Any]) -> str:
    """What of a step the pieces alone do not say, or ''."""
    kind, pattern = step.get("type"), step.get("pattern") or {}
    plain = kind in _HARMLESS and (kind not in ("Replace", "Split") or pattern.get("String") == " ")
    if plain and (kind != "Replace" or step.get("content") == SPM_SPACE):
        return ""
    return f"changes text by a step of the kind {kind}"


def _adds_space(step: dict[str, Any]) -> bool:
    if step.get("type") == "Metaspace":
        return step.get("prepend_scheme", "always") != "never" and step.get("add_prefix_space", True) is not False
    return step.get("type") == "Prepend"


def _table(files: TokenizerFiles) -> tuple[TokenTable, int]:
    """The token table, padded to the embedding's rows, and how many tokens lie beyond them."""
    size = files.vocabulary
    table = TokenTable([f"[PAD{number}]" for number in range(size)], [UNUSED] * size, [_UNUSED_SCORE] * size)
    vocabulary, ranks = vocabulary_of(files), _ranks(files)
    unknown = (files.tokenizer["model"]).get("unk_token")
    left_out = {number for number in vocabulary.values() if number >= size}
    for token, number in vocabulary.items():
        if number < size:
            kind = UNKNOWN if token == unknown else BYTE if _BYTE.fullmatch(token) else NORMAL
            table.tokens[number], table.kinds[number] = token, kind
            # Pieces that nothing is merged into come after all others; marks and bytes have no score.
            table.scores[number] = float(-ranks.get(token, len(ranks))) if kind == NORMAL else 0.0
    for item in added_tokens(files):
        number, token = item["id"], str(item["content"])
        if number >= size:
            left_out.add(number)
        elif token != unknown:
            is_control = bool(item.get("special")) or looks_special(token)
            table.tokens[number] = token if is_control else token.replace(SPM_SPACE, " ")
            table.kinds[number] = CONTROL if is_control else USER_DEFINED
            table.scores[number] = _ADDED_SCORE
    return table, len(left_out)


def _pairs(files: TokenizerFiles) -> list[tuple[str, str]]:
    return [tuple(merge.split(" ", 1)) for merge in merges_of(files) if " " in merge]  # type: ignore[misc]


def _ranks(files: TokenizerFiles) -> dict[str, int]:
    """The place of each piece in the order in which pieces are merged."""
    ranks: dict[str, int] = {}
    for left, right in _pairs(files):
        ranks.setdefault(left + right, len(ranks))
    return ranks


def _is_sentencepiece(files: TokenizerFiles) -> bool:
    """Whether the merges are all those that the pieces allow, those into one piece together."""
    vocabulary, pairs = vocabulary_of(files), _pairs(files)
    joined = [left + right for left, right in pairs]
    changes = sum(one != other for one, other in itertools.pairwise(joined))
    known = set(pairs)
    return changes + 1 == len(set(joined)) and all(
        (piece[:at], piece[at:]) in known
        for piece in set(joined)
        for at in range(1, len(piece))
        if piece[:at] in vocabulary and piece[at:] in vocabulary
    )
