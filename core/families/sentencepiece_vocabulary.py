"""Converts a SentencePiece tokenizer (tokenizer.model of Llama 1 and 2, Mistral 7B) to GGUF's model `llama`."""

from __future__ import annotations

from collections.abc import Iterator

from core.families.sentencepiece import read_pieces
from core.families.token_table import (
    CONTROL,
    SPM_SPACE,
    UNUSED,
    USER_DEFINED,
    ConvertedTokenizer,
    TokenizerFiles,
    TokenTable,
    chat_template,
    configured_switches,
    looks_special,
    optional_json,
    special_keys,
    table_keys,
)
from core.formats.gguf_layout import KeyValue

_UNUSED_SCORE, _ADDED_SCORE = -10000.0, -1000.0


def convert_sentencepiece(files: TokenizerFiles) -> ConvertedTokenizer:
    """Converts `files`, with tokens added after training. Raises InvalidHeader, ReadFailed."""
    model = read_pieces(files.folder / "tokenizer.model")
    size = files.vocabulary
    table = TokenTable([f"[PAD{number}]" for number in range(size)], [UNUSED] * size, [_UNUSED_SCORE] * size)
    for number, piece in enumerate(model.pieces[:size]):
        table.tokens[number], table.kinds[number], table.scores[number] = piece.text, piece.kind, piece.score
    left_out = max(0, len(model.pieces) - size)
    for number, token, special in _sentencepiece_added(files):
        if not 0 <= number < size:
            left_out += 1
            continue
        is_control = special or looks_special(token)
        table.tokens[number] = token if is_control else token.replace(SPM_SPACE, " ")
        table.kinds[number], table.scores[number] = CONTROL if is_control else USER_DEFINED, _ADDED_SCORE
    adds_space = files.config.get("add_prefix_space")
    entries = [
        KeyValue(
            "tokenizer.ggml.add_space_prefix", "BOOL", model.adds_space if adds_space is None else bool(adds_space)
        ),
        *configured_switches(files, {}),
        KeyValue("tokenizer.ggml.model", "STRING", "llama"),
        KeyValue("tokenizer.ggml.pre", "STRING", "default"),
        *table_keys(table),
        *special_keys(files, table),
        *chat_template(files),
    ]
    warnings = (f"{left_out} of its tokens have no embedding and are left out",) if left_out else ()
    return ConvertedTokenizer(tuple(entries), warnings)


def _sentencepiece_added(files: TokenizerFiles) -> Iterator[tuple[int, str, bool]]:
    """(number, token, special) of the tokens added after training; the kinds of `<s>` and `</s>` stay as trained."""
    for token, number in optional_json(files.folder / "added_tokens.json").items():
        yield int(number), token, False
    for number, info in (files.config.get("added_tokens_decoder") or {}).items():
        if str(info["content"]) not in ("<s>", "</s>", "<unk>"):
            yield int(number), str(info["content"]), bool(info.get("special"))
