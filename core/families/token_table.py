"""What GGUF says of any tokenizer: the token table, the special tokens, the switches and the chat template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import InvalidHeader
from core.formats.gguf_layout import KeyValue
from core.formats.json_file import read_json_object

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
# GGUF's key for each special token, by its name in tokenizer_config.json ("seperator" is GGUF's own spelling).
SPECIAL_KEYS: dict[str, str] = {
    "bos": "tokenizer.ggml.bos_token_id",
    "eos": "tokenizer.ggml.eos_token_id",
    "unk": "tokenizer.ggml.unknown_token_id",
    "sep": "tokenizer.ggml.seperator_token_id",
    "pad": "tokenizer.ggml.padding_token_id",
    "cls": "tokenizer.ggml.cls_token_id",
    "mask": "tokenizer.ggml.mask_token_id",
}
SPM_SPACE = "\u2581"
# The vocabulary of SmolLM and of Granite's small models, whose texts do not begin with a special token.
_NO_BOS_VOCABULARY = 49152


@dataclass(frozen=True)
class TokenizerFiles:
    """The files of a folder that matter here, parsed; {} for one that is missing."""

    folder: Path
    vocabulary: int
    tokenizer: dict[str, Any]
    config: dict[str, Any]
    generation: dict[str, Any]
    model_config: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TokenTable:
    """Tokens by their numbers; scores only for SentencePiece."""

    tokens: list[str]
    kinds: list[int]
    scores: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ConvertedTokenizer:
    """The keys, and what the user should know about them."""

    metadata: tuple[KeyValue, ...]
    warnings: tuple[str, ...] = ()


def optional_json(path: Path) -> dict[str, Any]:
    """A JSON object, {} where the file is missing. Raises InvalidHeader, NotAModel, ReadFailed."""
    return read_json_object(path) if path.is_file() else {}


def looks_special(token: str) -> bool:
    """Whether an added token is a control token although its file does not say so (as llama.cpp's converter asks)."""
    if token in ("<pad>", "<mask>", "<2mass>", "[@BOS@]"):
        return True
    brackets = (("<|", "|>"), ("<\uff5c", "\uff5c>"), ("<unused", ">"))
    return any(token.startswith(left) and token.endswith(right) for left, right in brackets)


def table_keys(table: TokenTable) -> Iterator[KeyValue]:
    """The keys of a token table."""
    yield KeyValue("tokenizer.ggml.tokens", "ARRAY[STRING]", table.tokens)
    if table.scores:
        yield KeyValue("tokenizer.ggml.scores", "ARRAY[FLOAT32]", table.scores)
    yield KeyValue("tokenizer.ggml.token_type", "ARRAY[INT32]", table.kinds)


def special_keys(files: TokenizerFiles, table: TokenTable) -> Iterator[KeyValue]:
    """The numbers of the special tokens that are known."""
    numbers = {token: number for number, token in reversed(list(enumerate(table.tokens)))}
    for name, key in SPECIAL_KEYS.items():
        number = _special_number(files, name, numbers)
        if number is not None and 0 <= number < len(table.tokens):
            yield KeyValue(key, "UINT32", number)


def _special_number(files: TokenizerFiles, name: str, numbers: dict[str, int]) -> int | None:
    """A special token's number: by its text in tokenizer_config.json, else by number in the other two files."""
    token = files.config.get(f"{name}_token")
    content = token.get("content") if isinstance(token, dict) else token
    if isinstance(content, str) and content in numbers:
        return numbers[content]
    for config in (files.model_config, files.generation):
        found = config.get(f"{name}_token_id")
        first = found[0] if isinstance(found, list) and found else found
        if type(first) is int:
            return first
    return None


def configured_switches(files: TokenizerFiles, default: dict[str, bool]) -> Iterator[KeyValue]:
    """Whether special tokens go around a text: as tokenizer_config.json says, else by `default` (bos, eos)."""
    for name in ("bos", "eos"):
        configured = files.config.get(f"add_{name}_token")
        value = configured if isinstance(configured, bool) else default.get(name)
        if files.vocabulary == _NO_BOS_VOCABULARY and name == "bos":
            value = False
        if value is not None and (name == "bos" or value or isinstance(configured, bool)):
            yield KeyValue(f"tokenizer.ggml.add_{name}_token", "BOOL", value)


def chat_template(files: TokenizerFiles) -> Iterator[KeyValue]:
    """The template(s) as they stand, from tokenizer_config.json or chat_template.jinja."""
    template = files.config.get("chat_template") or _template_file(files.folder)
    named: Sequence[Any] = template if isinstance(template, list) else [{"name": "default", "template": template}]
    for item in named:
        if isinstance(item, dict) and isinstance(item.get("template"), str) and item["template"]:
            suffix = "" if item.get("name") == "default" else f".{item.get('name')}"
            yield KeyValue(f"tokenizer.chat_template{suffix}", "STRING", item["template"])


def has_chat_template(folder: Path) -> bool:
    """Whether a folder brings a chat template, without reading the vocabulary."""
    return bool(optional_json(folder / "tokenizer_config.json").get("chat_template") or _template_file(folder))


def _template_file(folder: Path) -> str:
    path = folder / "chat_template.jinja"
    try:
        return path.read_bytes().decode("utf-8") if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidHeader(str(path), f"it cannot be read: {error}") from error
