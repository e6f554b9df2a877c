"""Turns the tokenizer files of a Hugging Face folder into GGUF's `tokenizer.*` keys.

Byte-level BPE (tokenizer.json) becomes the model `gpt2`, SentencePiece (tokenizer.model) becomes `llama`. Nothing of
the folder is executed: chat templates are copied as text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import CannotConvert, InvalidHeader, NotAModel
from core.families.pretokenizers import CHECK_TEXT, recognised
from core.families.sentencepiece import read_pieces
from core.formats.gguf_layout import KeyValue
from core.formats.json_file import read_json_object

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
# GGUF's key for each special token, under the name that tokenizer_config.json gives it ("sep" is misspelled there).
SPECIAL_KEYS: dict[str, str] = {
    "bos": "tokenizer.ggml.bos_token_id",
    "eos": "tokenizer.ggml.eos_token_id",
    "unk": "tokenizer.ggml.unknown_token_id",
    "sep": "tokenizer.ggml.seperator_token_id",
    "pad": "tokenizer.ggml.padding_token_id",
    "cls": "tokenizer.ggml.cls_token_id",
    "mask": "tokenizer.ggml.mask_token_id",
}
_SPM_SPACE = "\u2581"
_BYTE_LEVEL_SPACE = "\u0120"
_UNUSED_SCORE, _ADDED_SCORE = -10000.0, -1000.0
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


def convert_tokenizer(folder: Path, model_config: dict[str, Any], default_pre: str) -> ConvertedTokenizer:
    """Converts the tokenizer of `folder`; default_pre is the family's splitting rule where none is recognised.

    Raises NotAModel (no tokenizer files), CannotConvert (a kind that is not covered), InvalidHeader, ReadFailed.
    """
    try:
        return _converted(folder, model_config, default_pre)
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # JSON of another form than was expected
        problem = f"they are not of the expected form ({type(error).__name__}: {error})"
        raise InvalidHeader(f"{folder} (its tokenizer files)", problem) from error


def _converted(folder: Path, model_config: dict[str, Any], default_pre: str) -> ConvertedTokenizer:
    tokenizer = _optional(folder / "tokenizer.json")
    files = TokenizerFiles(
        folder=folder,
        vocabulary=int(model_config["vocab_size"]),
        tokenizer=tokenizer,
        config=_optional(folder / "tokenizer_config.json"),
        generation=_optional(folder / "generation_config.json"),
        model_config=model_config,
    )
    if _is_byte_level_bpe(tokenizer):
        return _byte_level_bpe(files, default_pre)
    if (folder / "tokenizer.model").is_file():
        return _sentencepiece(files)
    if not tokenizer:
        raise NotAModel(str(folder), "its tokenizer (tokenizer.json or tokenizer.model) is missing")
    kind = (tokenizer.get("model") or {}).get("type", "unknown")
    byte_fallback = "with byte fallback " if (tokenizer.get("model") or {}).get("byte_fallback") else ""
    raise CannotConvert(
        str(folder),
        f"its tokenizer.json is of the kind {kind} {byte_fallback}and there is no tokenizer.model beside it",
    )


def _optional(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.is_file() else {}


# ---------------------------------------------------------------- byte-level BPE


def _is_byte_level_bpe(tokenizer: dict[str, Any]) -> bool:
    model = tokenizer.get("model") or {}
    is_bpe = model.get("type", "BPE") == "BPE" and isinstance(model.get("merges"), list)
    return is_bpe and not model.get("byte_fallback") and "ByteLevel" in _kinds(tokenizer.get("decoder"))


def _kinds(node: Any) -> list[str]:
    """The types of a tokenizer.json component and of the components in its sequence."""
    if not isinstance(node, dict):
        return []
    inner = node.get("decoders") or node.get("pretokenizers") or []
    return [str(node.get("type"))] + [kind for step in inner for kind in _kinds(step)]


def _byte_level_bpe(files: TokenizerFiles, default_pre: str) -> ConvertedTokenizer:
    backend = _Backend(files)
    table, left_out = _bpe_tokens(files, backend)
    warnings = [f"{left_out} of its tokens have no embedding and are left out"] if left_out else []
    pre = recognised(backend.ids(CHECK_TEXT), files.tokenizer)
    if pre is None:
        pre = default_pre
        warnings.append(
            f"Its way of splitting text into words was not recognised; '{pre}' is assumed, and answers may suffer"
        )
    entries = [
        *_switches(files, backend),
        KeyValue("tokenizer.ggml.model", "STRING", "gpt2"),
        KeyValue("tokenizer.ggml.pre", "STRING", pre),
        *_table_keys(table),
        KeyValue("tokenizer.ggml.merges", "ARRAY[STRING]", _merges(files)),
        *_special_keys(files, table),
        *_chat_template(files),
    ]
    return ConvertedTokenizer(tuple(entries), tuple(warnings))


class _Backend:
    """The tokenizer itself, run by the `tokenizers` library, which executes nothing of the model's."""

    def __init__(self, files: TokenizerFiles) -> None:
        from tokenizers import Tokenizer  # a native library, needed for conversions only

        path = files.folder / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for anything that it cannot parse
            raise InvalidHeader(str(path), f"it is not a tokenizer: {error}") from error

    def ids(self, text: str, special: bool = True) -> list[int]:
        """Token numbers of `text`, with the special tokens that belong around it."""
        return list(self._tokenizer.encode(text, add_special_tokens=special).ids)

    def normalised(self, token: str) -> str:
        """An added token as it reads after encoding and decoding."""
        return str(self._tokenizer.decode(self.ids(token, special=False), skip_special_tokens=False))


def _bpe_tokens(files: TokenizerFiles, backend: _Backend) -> tuple[TokenTable, int]:
    """The token table, padded to the embedding's rows, and how many tokens lie beyond them."""
    size = files.vocabulary
    table = TokenTable([f"[PAD{number}]" for number in range(size)], [UNUSED] * size)
    left_out = 0
    for token, number in _vocabulary(files).items():
        if number < size:
            table.tokens[number], table.kinds[number] = token, NORMAL
        else:
            left_out += 1
    for added in _added(files):
        if added["id"] >= size:
            left_out += 1
            continue
        token = str(added["content"])
        if not added.get("normalized"):
            token = backend.normalised(token)
        is_control = bool(added.get("special")) or looks_special(token)
        table.tokens[added["id"]] = token if is_control else token.replace(_SPM_SPACE, " ")
        table.kinds[added["id"]] = CONTROL if is_control else USER_DEFINED
    return table, left_out


def _vocabulary(files: TokenizerFiles) -> dict[str, int]:
    vocabulary = files.tokenizer["model"].get("vocab")
    if not isinstance(vocabulary, dict) or not all(
        type(number) is int and number >= 0 for number in vocabulary.values()
    ):
        raise InvalidHeader(str(files.folder / "tokenizer.json"), "its vocabulary is not a table of numbers")
    return vocabulary


def _added(files: TokenizerFiles) -> list[dict[str, Any]]:
    added = files.tokenizer.get("added_tokens") or []
    if not all(isinstance(item, dict) and type(item.get("id")) is int and item["id"] >= 0 for item in added):
        raise InvalidHeader(str(files.folder / "tokenizer.json"), "its added tokens are described wrongly")
    return list(added)


def looks_special(token: str) -> bool:
    """Whether an added token is a control token although its file does not say so (as llama.cpp's converter asks)."""
    if token in ("<pad>", "<mask>", "<2mass>", "[@BOS@]"):
        return True
    brackets = (("<|", "|>"), ("<\uff5c", "\uff5c>"), ("<unused", ">"))
    return any(token.startswith(left) and token.endswith(right) for left, right in brackets)


def _merges(files: TokenizerFiles) -> list[str]:
    """The merges as "a b", from either of the forms tokenizer.json has had; a space within a part is encoded."""
    merges = files.tokenizer["model"]["merges"]
    if all(isinstance(merge, str) for merge in merges):
        return list(merges)
    if not all(isinstance(merge, list) and len(merge) == 2 for merge in merges):
        raise InvalidHeader(str(files.folder / "tokenizer.json"), "its merges are neither pairs nor lines")
    return [" ".join(str(part).replace(" ", _BYTE_LEVEL_SPACE) for part in merge) for merge in merges]


# ---------------------------------------------------------------- SentencePiece


def _sentencepiece(files: TokenizerFiles) -> ConvertedTokenizer:
    model = read_pieces(files.folder / "tokenizer.model")
    size = files.vocabulary
    table = TokenTable([f"[PAD{number}]" for number in range(size)], [UNUSED] * size, [_UNUSED_SCORE] * size)
    for number, piece in enumerate(model.pieces[:size]):
        table.tokens[number], table.kinds[number], table.scores[number] = piece.text, piece.kind, piece.score
    left_out = max(0, len(model.pieces) - size)
    for number, token, special in _sentencepiece_added(files):
        if number >= size:
            left_out += 1
            continue
        is_control = special or looks_special(token)
        table.tokens[number] = token if is_control else token.replace(_SPM_SPACE, " ")
        table.kinds[number], table.scores[number] = CONTROL if is_control else USER_DEFINED, _ADDED_SCORE
    adds_space = files.config.get("add_prefix_space")
    entries = [
        KeyValue(
            "tokenizer.ggml.add_space_prefix", "BOOL", model.adds_space if adds_space is None else bool(adds_space)
        ),
        *_configured_switches(files, {}),
        KeyValue("tokenizer.ggml.model", "STRING", "llama"),
        KeyValue("tokenizer.ggml.pre", "STRING", "default"),
        *_table_keys(table),
        *_special_keys(files, table),
        *_chat_template(files),
    ]
    warnings = (f"{left_out} of its tokens have no embedding and are left out",) if left_out else ()
    return ConvertedTokenizer(tuple(entries), warnings)


def _sentencepiece_added(files: TokenizerFiles) -> Iterator[tuple[int, str, bool]]:
    """(number, token, special) of the tokens added after training; the kinds of `<s>` and `</s>` stay as trained."""
    for token, number in _optional(files.folder / "added_tokens.json").items():
        yield int(number), token, False
    for number, info in (files.config.get("added_tokens_decoder") or {}).items():
        if str(info["content"]) not in ("<s>", "</s>", "<unk>"):
            yield int(number), str(info["content"]), bool(info.get("special"))


# ---------------------------------------------------------------- what both kinds have


def _table_keys(table: TokenTable) -> Iterator[KeyValue]:
    yield KeyValue("tokenizer.ggml.tokens", "ARRAY[STRING]", table.tokens)
    if table.scores:
        yield KeyValue("tokenizer.ggml.scores", "ARRAY[FLOAT32]", table.scores)
    yield KeyValue("tokenizer.ggml.token_type", "ARRAY[INT32]", table.kinds)


def _special_keys(files: TokenizerFiles, table: TokenTable) -> Iterator[KeyValue]:
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


def _switches(files: TokenizerFiles, backend: _Backend) -> Iterator[KeyValue]:
    """Whether special tokens go around a text: as the tokenizer does it, unless its configuration says otherwise."""
    prefix_space = files.config.get("add_prefix_space")
    if prefix_space is not None:
        yield KeyValue("tokenizer.ggml.add_space_prefix", "BOOL", bool(prefix_space))
    bare, whole = backend.ids("a", special=False), backend.ids("a")
    around = {"bos": whole[: len(bare)] != bare, "eos": whole[len(whole) - len(bare) :] != bare}
    yield from _configured_switches(files, around)


def _configured_switches(files: TokenizerFiles, default: dict[str, bool]) -> Iterator[KeyValue]:
    for name in ("bos", "eos"):
        configured = files.config.get(f"add_{name}_token")
        value = configured if isinstance(configured, bool) else default.get(name)
        if files.vocabulary == _NO_BOS_VOCABULARY and name == "bos":
            value = False
        if value is not None and (name == "bos" or value or isinstance(configured, bool)):
            yield KeyValue(f"tokenizer.ggml.add_{name}_token", "BOOL", value)


def _chat_template(files: TokenizerFiles) -> Iterator[KeyValue]:
    """The template(s) as they stand, from tokenizer_config.json or chat_template.jinja."""
    template = files.config.get("chat_template") or _template_file(files.folder)
    named: Sequence[Any] = template if isinstance(template, list) else [{"name": "default", "template": template}]
    for item in named:
        if isinstance(item, dict) and isinstance(item.get("template"), str) and item["template"]:
            suffix = "" if item.get("name") == "default" else f".{item.get('name')}"
            yield KeyValue(f"tokenizer.chat_template{suffix}", "STRING", item["template"])


def has_chat_template(folder: Path) -> bool:
    """Whether a folder brings a chat template, without reading the vocabulary."""
    return bool(_optional(folder / "tokenizer_config.json").get("chat_template") or _template_file(folder))


def _template_file(folder: Path) -> str:
    path = folder / "chat_template.jinja"
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidHeader(str(path), f"it cannot be read: {error}") from error
