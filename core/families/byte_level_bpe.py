"""Converts a byte-level BPE tokenizer (tokenizer.json of Llama 3, SmolLM, Mistral Nemo) to GGUF's model `gpt2`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.errors import InvalidHeader
from core.families.pretokenizers import CHECK_TEXT, recognised
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
    special_keys,
    table_keys,
)
from core.formats.gguf_layout import KeyValue

_BYTE_LEVEL_SPACE = "\u0120"


def is_byte_level_bpe(tokenizer: dict[str, Any]) -> bool:
    """Whether a tokenizer.json is of this kind; {} is not."""
    model = tokenizer.get("model") or {}
    is_bpe = model.get("type", "BPE") == "BPE" and isinstance(model.get("merges"), list)
    return is_bpe and not model.get("byte_fallback") and "ByteLevel" in kinds_of(tokenizer.get("decoder"))


def kinds_of(node: Any) -> list[str]:
    """The types of a tokenizer.json component and of the components in its sequence."""
    if not isinstance(node, dict):
        return []
    inner = node.get("decoders") or node.get("pretokenizers") or []
    return [str(node.get("type"))] + [kind for step in inner for kind in kinds_of(step)]


def convert_byte_level_bpe(files: TokenizerFiles, default_pre: str) -> ConvertedTokenizer:
    """Converts `files`; default_pre is taken where the splitting rule is not recognised. Raises InvalidHeader."""
    backend = Backend(files)
    table, left_out = _bpe_tokens(files, backend)
    warnings = [f"{left_out} of its tokens have no embedding and are left out"] if left_out else []
    pre = recognised(backend.ids(CHECK_TEXT), files.tokenizer, default_pre)
    if pre is None:
        pre = default_pre
        warnings.append(
            f"Its way of splitting text into words was not recognised; '{pre}' is assumed, and answers may suffer"
        )
    entries = [
        *switches(files, backend),
        KeyValue("tokenizer.ggml.model", "STRING", "gpt2"),
        KeyValue("tokenizer.ggml.pre", "STRING", pre),
        *table_keys(table),
        KeyValue("tokenizer.ggml.merges", "ARRAY[STRING]", merges_of(files)),
        *special_keys(files, table),
        *chat_template(files),
    ]
    return ConvertedTokenizer(tuple(entries), tuple(warnings))


class Backend:
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


def _bpe_tokens(files: TokenizerFiles, backend: Backend) -> tuple[TokenTable, int]:
    """The token table, padded to the embedding's rows, and how many tokens lie beyond them."""
    size = files.vocabulary
    table = TokenTable([f"[PAD{number}]" for number in range(size)], [UNUSED] * size)
    left_out = {number for number in vocabulary_of(files).values() if number >= size}
    for token, number in vocabulary_of(files).items():
        if number < size:
            table.tokens[number], table.kinds[number] = token, NORMAL
    for added in added_tokens(files):
        if added["id"] >= size:
            left_out.add(added["id"])
            continue
        token = str(added["content"])
        if not added.get("normalized"):
            token = backend.normalised(token)
        is_control = bool(added.get("special")) or looks_special(token)
        table.tokens[added["id"]] = token if is_control else token.replace(SPM_SPACE, " ")
        table.kinds[added["id"]] = CONTROL if is_control else USER_DEFINED
    return table, len(left_out)


def vocabulary_of(files: TokenizerFiles) -> dict[str, int]:
    """The tokens' numbers. Raises InvalidHeader."""
    vocabulary = files.tokenizer["model"].get("vocab")
    if not isinstance(vocabulary, dict) or not all(
        type(number) is int and number >= 0 for number in vocabulary.values()
    ):
        raise InvalidHeader(str(files.folder / "tokenizer.json"), "its vocabulary is not a table of numbers")
    return vocabulary


def added_tokens(files: TokenizerFiles) -> list[dict[str, Any]]:
    """The tokens added after training, as tokenizer.json describes them. Raises InvalidHeader."""
    added = files.tokenizer.get("added_tokens") or []
    if not all(isinstance(item, dict) and type(item.get("id")) is int and item["id"] >= 0 for item in added):
        raise InvalidHeader(str(files.folder / "tokenizer.json"), "its added tokens are described wrongly")
    return list(added)


def merges_of(files: TokenizerFiles) -> list[str]:
    """The merges as "a b", from either of the forms tokenizer.json has had; a space within a part is encoded."""
    merges = files.tokenizer["model"]["merges"]
    if all(isinstance(merge, str) for merge in merges):
        return list(merges)
    if not all(isinstance(merge, list) and len(merge) == 2 for merge in merges):
        raise InvalidHeader(str(files.folder / "tokenizer.json"), "its merges are neither pairs nor lines")
    return [" ".join(str(part).replace(" ", _BYTE_LEVEL_SPACE) for part in merge) for merge in merges]


def switches(files: TokenizerFiles, backend: Backend) -> Iterator[KeyValue]:
    """Whether special tokens go around a text: as the tokenizer does it, unless its configuration says otherwise."""
    prefix_space = files.config.get("add_prefix_space")
    if prefix_space is not None:
        yield KeyValue("tokenizer.ggml.add_space_prefix", "BOOL", bool(prefix_space))
    bare, whole = backend.ids("a", special=False), backend.ids("a")
    around = {"bos": whole[: len(bare)] != bare, "eos": whole[len(whole) - len(bare) :] != bare}
    yield from configured_switches(files, around)
