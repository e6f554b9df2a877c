"""The configuration of transformers' model from GGUF's keys: the inverse of a family's table of keys."""

from __future__ import annotations

from typing import Any

from core.errors import CannotRun
from core.families.family import OPTIONAL, REQUIRED, KeyRule, Values
from core.network.rows import NetworkRow
from core.sources import Source

_YARN_KEYS = {"yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow", "yarn_attn_factor": "attention_factor"}
_NEEDED = frozenset({"num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads"})


def config_values(row: NetworkRow, source: Source) -> Values:
    """config.json's entries for `source`, as transformers names them. Raises CannotRun."""
    said = {entry.key: entry.value for entry in source.metadata}
    values: Values = {}
    for rule in row.family.keys:
        _take(values, rule, said.get(f"{row.family.name}.{rule.target}"), str(source.path))
    for rule in row.family.keys:
        if rule.source in _NEEDED and rule.source not in values:
            raise CannotRun(str(source.path), f"its metadata lacks {row.family.name}.{rule.target}")
    if values.get("head_dim") is None:
        values["head_dim"] = values.get("own_head_dim") or values["hidden_size"] // values["num_attention_heads"]
    values.setdefault("num_key_value_heads", values["num_attention_heads"])
    values["vocab_size"] = source.tensor("token_embd.weight").rows
    values["tie_word_embeddings"] = all(tensor.name != "output.weight" for tensor in source.tensors)
    # The special tokens play no part here, and a default of transformers may lie outside the vocabulary.
    values |= dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    values["rope_parameters"] = _rope(row, source, said, values)
    values |= row.implied(values)
    for name, others in row.family.aliases.items():
        values |= {other: values[name] for other in others if name in values}
    return values


def _take(values: Values, rule: KeyRule, found: Any, path: str) -> None:
    """One key's value under config.json's name; of two keys for one name both must say the same."""
    if found is None:
        if rule.source in values:
            return
        found = rule.default
        if found is REQUIRED and rule.source == "num_key_value_heads":
            found = values.get("num_attention_heads")
    if found is OPTIONAL or found is REQUIRED:
        return
    if isinstance(found, list | tuple) and not rule.type.startswith("ARRAY"):
        raise CannotRun(path, f"its layers differ in {rule.target}")
    if values.setdefault(rule.source, found) != found:
        raise CannotRun(path, f"{rule.target} is {found} where {values[rule.source]} is computed with")


def _rope(row: NetworkRow, source: Source, said: dict[str, Any], values: Values) -> Values:
    """The rotary embedding's parameters; llama3's divisors are a tensor, which is applied to the frequencies."""
    prefix = f"{row.family.name}.rope.scaling."
    rope: Values = {"rope_type": "default", "rope_theta": values.get("rope_theta") or 10000.0}
    kind = said.get(f"{prefix}type", "none")
    names = {tensor.name for tensor in source.tensors}
    if "rope_factors_long.weight" in names:
        return rope | _long(source, said, prefix, values)
    if kind in ("linear", "yarn"):
        rope |= {"rope_type": kind, "factor": said.get(f"{prefix}factor", 1.0)}
    elif kind != "none":
        raise CannotRun(str(source.path), f"its rotary embedding is {kind}")
    if kind == "yarn":
        rope["original_max_position_embeddings"] = said.get(f"{prefix}original_context_length")
        rope |= {theirs: said[prefix + ours] for ours, theirs in _YARN_KEYS.items() if prefix + ours in said}
    return rope


def _long(source: Source, said: dict[str, Any], prefix: str, values: Values) -> Values:
    """LongRoPE's divisors for long and short contexts, and how attention grows."""
    factors = {
        f"{name}_factor": source.read(source.tensor(f"rope_factors_{name}.weight")).reshape(-1).tolist()
        for name in ("long", "short")
    }
    original = values["original_max_position_embeddings"]
    rope: Values = {"rope_type": "longrope", "original_max_position_embeddings": original, **factors}
    if f"{prefix}attn_factor" in said:
        rope["attention_factor"] = said[f"{prefix}attn_factor"]
    return rope
