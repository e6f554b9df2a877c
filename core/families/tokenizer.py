"""Turns the tokenizer files of a Hugging Face folder into GGUF's `tokenizer.*` keys.

Byte-level BPE (tokenizer.json) becomes the model `gpt2`, SentencePiece (tokenizer.model, or what transformers makes of
one in tokenizer.json) becomes `llama`. Nothing of the folder is executed: chat templates are copied as text.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from core.errors import CannotConvert, InvalidHeader, NotAModel
from core.families.byte_fallback_bpe import convert_byte_fallback_bpe, is_byte_fallback_bpe
from core.families.byte_level_bpe import convert_byte_level_bpe, is_byte_level_bpe
from core.families.family import Family
from core.families.sentencepiece_vocabulary import convert_sentencepiece
from core.families.token_table import ConvertedTokenizer, TokenizerFiles, optional_json
from core.formats.gguf_layout import KeyValue


def convert_tokenizer(folder: Path, model_config: dict[str, Any], family: Family) -> ConvertedTokenizer:
    """Converts the tokenizer of `folder`; the family's splitting rule is taken where none is recognised.

    Raises NotAModel (no tokenizer files), CannotConvert (a kind that is not covered), InvalidHeader, ReadFailed.
    """
    try:
        made = _converted(folder, model_config, family)
        known = {entry.key for entry in made.metadata}
        fixed = [KeyValue(key, "UINT32", number) for key, number in family.token_ids if key not in known]
        return replace(made, metadata=(*made.metadata, *fixed))
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # JSON of another form than was expected
        problem = f"they are not of the expected form ({type(error).__name__}: {error})"
        raise InvalidHeader(f"{folder} (its tokenizer files)", problem) from error


def _converted(folder: Path, model_config: dict[str, Any], family: Family) -> ConvertedTokenizer:
    tokenizer = optional_json(folder / "tokenizer.json")
    files = TokenizerFiles(
        folder=folder,
        vocabulary=int(model_config["vocab_size"]),
        tokenizer=tokenizer,
        config=optional_json(folder / "tokenizer_config.json"),
        generation=optional_json(folder / "generation_config.json"),
        model_config=model_config,
    )
    if is_byte_level_bpe(tokenizer):
        return convert_byte_level_bpe(files, family.default_pre)
    if (folder / "tokenizer.model").is_file():
        return convert_sentencepiece(files, family.space_prefix)
    if is_byte_fallback_bpe(tokenizer):
        return convert_byte_fallback_bpe(files, family.space_prefix)
    if not tokenizer:
        raise NotAModel(str(folder), "its tokenizer (tokenizer.json or tokenizer.model) is missing")
    kind = (tokenizer.get("model") or {}).get("type", "unknown")
    raise CannotConvert(
        str(folder), f"its tokenizer.json is of the kind {kind}, and there is no tokenizer.model beside it"
    )
