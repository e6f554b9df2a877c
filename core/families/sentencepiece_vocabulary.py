"""Converts a SentencePiece tokenizer (tokenizer.model of Llama 1 and 2, Mistral 7B) to GGUF's model `llama`."""

from __future__ import annotations

from collections.abc import Iterator

from core.families.sentencepiece import read_pieces
from core.families.token_table import (
    CONTROL,
    NORMAL,
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


def convert_sentencepiece(files: TokenizerFiles, space_prefix: bool | None = None) -> ConvertedTokenizer:
    """Converts `files`, with tokens added after training.

    space_prefix: whether a space is put before the text, None where the files decide. Raises InvalidHeader, ReadFailed.
    """
    model = read_pieces(files.folder / "tokenizer.model")
    size = files.vocabulary
    table = TokenTable([f"[PAD{number}]" for number in range(size)], [UNUSED] * size, [_UNUSED_SCORE] * size)
    for number, piece in enumerate(model.pieces[:size]):
        kind = NORMAL if piece.kind == USER_DEFINED else piece.kind  # as llama.cpp's converter has it
        table.tokens[number], table.kinds[number], table.scores[number] = piece.text, kind, piece.score
    left_out = max(0, len(model.pieces) - size)
    for number, token, special in _sentencepiece_added(files):
        if not 0 <= number < size:
            left_out += 1
            continue
        is_control = special or looks_special(token)
        table.tokens[number] = token if is_control else token.replace(SPM_SPACE, " ")
        table.kinds[number], table.scores[number] = CONTROL if is_control else USER_DEFINED, _ADDED_SCORE
    adds_space = files.config.get("add_prefix_space") if space_prefix is None else space_prefix
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
    """(number, token, special) of the tokens added after training, those among them that the model had already."""
    for token, number in optional_json(files.folder / "added_tokens.json").items():
        yield int(number), token, False
    for number, info in (files.config.get("added_tokens_decoder") or {}).items():
        yield int(number), str(info["content"]), bool(info.get("special"))
