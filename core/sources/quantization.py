"""THE table of the ways in which folders come already quantized: by config.json's quantization_config, one row each.

Which modules are packed is seen from the tensors that are there, not from the lists of exceptions in the configuration:
what a method leaves alone is stored as a plain weight.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from core.errors import CannotConvert, InvalidHeader, UnknownQuantization
from core.sources.packed_rows import (
    AWQRows,
    DenseRows,
    FlatRows,
    Float4Rows,
    GPTQRows,
    PackedRows,
    Parts,
    QuarterRows,
    ScaledRows,
    Settings,
)
from core.sources.stored_rows import Part, PlainRows, StoredRows

WEIGHT = "weight"
# Names that say more or less than a layout needs: bitsandbytes puts the kind into one, and experts that are fused into
# one tensor are stored without the ending.
_SAME = (
    (re.compile(r"(weight\.quant_state)\.bitsandbytes__(nf4|fp4)$"), r"\1"),
    (re.compile(r"(\.experts\.(gate_up|down)_proj)(_scale_inv)?$"), r"\1.weight\3"),
)


@dataclass(frozen=True, slots=True)
class Layout:
    """How one module is stored: it is this layout if all of `needed` are there. make: its parts to rows.

    needed, optional: last parts of the tensors' names.
    """

    needed: tuple[str, ...]
    make: Callable[[Parts, Settings], PackedRows]
    optional: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Method:
    """A value of quant_method. formats: those of its formats that are covered, by `format_of`; () where it has one.

    settings: what the layouts need of the configuration. unused: tensors that say nothing of the weights.
    """

    name: str
    label: str
    layouts: tuple[Layout, ...]
    formats: tuple[str, ...] = ()
    format_of: Callable[[Settings], str] = lambda config: ""
    settings: Callable[[Settings], dict[str, Any]] = lambda config: {}
    unused: str = r"(?!)"


# ---------------------------------------------------------------- what the configurations say


def _text(config: Settings, *keys: str) -> str:
    """The first of these entries that is there, in lower case."""
    return next((str(config[key]).lower() for key in keys if config.get(key) is not None), "")


def _second_version(config: Settings) -> dict[str, Any]:
    return {"second_version": _text(config, "checkpoint_format", "format") == "gptq_v2"}


def _block(config: Settings) -> dict[str, Any]:
    """The rectangles of fine-grained FP8, in weights: (height, width)."""
    block = config.get("weight_block_size")
    return {"block": _pair(block)}


def _block_of_groups(config: Settings) -> dict[str, Any]:
    """The same of compressed-tensors: the block_structure of the group that has one."""
    groups = config.get("config_groups")
    weights = [group.get("weights") for group in groups.values()] if isinstance(groups, dict) else []
    blocks = [_pair(entry.get("block_structure")) for entry in weights if isinstance(entry, dict)]
    return {"block": next((block for block in blocks if block), None)}


def _pair(block: Any) -> tuple[int, int] | None:
    sizes = block.split("x") if isinstance(block, str) else block
    if not isinstance(sizes, list) or len(sizes) != 2 or not all(str(size).isdigit() and int(size) for size in sizes):
        return None
    return int(sizes[0]), int(sizes[1])


def _bitnet_class(config: Settings) -> dict[str, Any]:
    return {"inverted": _text(config, "linear_class") != "autobitlinear"}


def _algorithm(config: Settings) -> str:
    return _text(config, "quant_algo")


# ---------------------------------------------------------------- the rows

_GPTQ = Layout(("qweight", "qzeros", "scales"), GPTQRows.of, ("g_idx",))
_AWQ = Layout(("qweight", "qzeros", "scales"), AWQRows.of)


def _scaled(label: str, scale: str, factor: float = 1.0, *optional: str) -> Layout:
    make = partial(ScaledRows.of, label=label, scale=scale, factor=factor)
    return Layout((WEIGHT, scale), make, optional)


_NVFP4 = partial(Float4Rows.of, inverted="weight_global_scale")
_MODELOPT_NVFP4 = partial(Float4Rows.of, overall="weight_scale_2")
_ACTIVATIONS = r"(.*\.)?(input|output|k|v|q|activation)_(scale|zero_point|global_scale|activation_scale)(_ub)?"

METHODS: tuple[Method, ...] = (
    Method(
        "gptq",
        "GPTQ",
        (_GPTQ,),
        formats=("", "gptq", "gptq_v2"),
        format_of=lambda config: _text(config, "checkpoint_format", "format"),
        settings=_second_version,
    ),
    Method("awq", "AWQ", (_AWQ,), formats=("", "gemm"), format_of=lambda config: _text(config, "version", "format")),
    Method(
        "auto-round",
        "AutoRound (GPTQ packing)",
        (_GPTQ,),
        formats=("auto_round", "auto_round:gptq", "auto_round:auto_gptq", "auto_gptq"),
        format_of=lambda config: _text(config, "packing_format"),
    ),
    Method(
        "auto-round",
        "AutoRound (AWQ packing)",
        (_AWQ,),
        formats=("auto_round:awq", "auto_round:auto_awq", "auto_awq"),
        format_of=lambda config: _text(config, "packing_format"),
    ),
    Method(
        "compressed-tensors",
        "compressed-tensors",
        (
            Layout(("weight_packed", "weight_scale", "weight_global_scale"), _NVFP4),
            Layout(
                ("weight_packed", "weight_scale", "weight_shape"),
                DenseRows.of,
                ("weight_zero_point", "weight_g_idx"),
            ),
            Layout(("weight_packed", "weight_scale"), Float4Rows.of),
            _scaled("compressed-tensors 8-bit", "weight_scale", 1.0, "weight_zero_point"),
        ),
        formats=(
            "",
            "dense",
            "pack-quantized",
            "int-quantized",
            "float-quantized",
            "naive-quantized",
            "mxfp4-pack-quantized",
            "nvfp4-pack-quantized",
            "mixed-precision",
        ),
        format_of=lambda config: _text(config, "format"),
        settings=_block_of_groups,
        unused=_ACTIVATIONS,
    ),
    Method(
        "fp8",
        "FP8",
        (_scaled("FP8", "weight_scale_inv"), _scaled("FP8", "weight_scale")),
        settings=_block,
        unused=_ACTIVATIONS,
    ),
    Method("fbgemm_fp8", "FP8 (FBGEMM)", (_scaled("FP8", "weight_scale"),), unused=_ACTIVATIONS),
    Method(
        "modelopt",
        "ModelOpt",
        (
            Layout((WEIGHT, "weight_scale", "weight_scale_2"), _MODELOPT_NVFP4),
            _scaled("ModelOpt FP8", "weight_scale"),
        ),
        formats=("fp8", "nvfp4"),
        format_of=_algorithm,
        unused=_ACTIVATIONS,
    ),
    Method(
        "bitsandbytes",
        "bitsandbytes",
        (
            Layout(
                (WEIGHT, "weight.absmax", "weight.quant_map", "weight.quant_state"),
                FlatRows.of,
                ("weight.nested_absmax", "weight.nested_quant_map"),
            ),
            _scaled("bitsandbytes 8-bit", "SCB", 1 / 127, "weight_format"),
        ),
    ),
    Method(
        "bitnet",
        "BitNet",
        (Layout((WEIGHT, "weight_scale"), QuarterRows.of),),
        settings=_bitnet_class,
    ),
)


def method_of(path: str, config: Mapping[str, Any]) -> tuple[Method, Settings] | None:
    """The row of a folder's configuration and that configuration, None where it is not quantized.

    Raises UnknownQuantization, InvalidHeader.
    """
    found = config.get("quantization_config") or config.get("compression_config")
    nested = config.get("text_config")
    if found is None and isinstance(nested, dict):
        found = nested.get("quantization_config")
    if found is None:
        return None
    if not isinstance(found, dict):
        raise InvalidHeader(path, "the quantization_config in its config.json is no object")
    name = _text(found, "quant_method")
    rows = [row for row in METHODS if row.name == name.removeprefix("intel/")]
    fitting = [row for row in rows if not row.formats or row.format_of(found) in row.formats]
    if not fitting:
        form = f" in the format {rows[0].format_of(found) or 'unnamed'}" if rows else ""
        raise UnknownQuantization(path, f"{name or 'a method it does not name'}{form}", [row.label for row in METHODS])
    return fitting[0], found


def unpacked(path: str, config: Mapping[str, Any], stored: Mapping[str, Part]) -> dict[str, StoredRows]:
    """All tensors of a checkpoint by their names, the packed ones under that of the weight they stand for.

    Raises UnknownQuantization, CannotConvert (a module is packed in another way), InvalidHeader, ReadFailed.
    """
    found = method_of(path, config)
    if found is None:
        return {name: PlainRows(part) for name, part in stored.items()}
    method, settings = found[0], found[0].settings(found[1])
    rows: dict[str, StoredRows] = {}
    used: set[str] = set()
    for module, parts in _modules(method, stored).items():
        layout = next((layout for layout in method.layouts if all(name in parts for name in layout.needed)), None)
        if layout is None:
            continue
        own = {name: parts[name][1] for name in (*layout.needed, *layout.optional) if name in parts}
        used |= {parts[name][0] for name in own}
        name = parts[WEIGHT][0] if WEIGHT in own else f"{module}{WEIGHT}"
        rows[name] = _made(path, method, layout, own, settings)
    left = {name: part for name, part in stored.items() if name not in used and not re.fullmatch(method.unused, name)}
    return rows | {name: PlainRows(part) for name, part in left.items()}


def _made(path: str, method: Method, layout: Layout, parts: Parts, settings: Settings) -> PackedRows:
    try:
        return layout.make(parts, settings)
    except (KeyError, ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
        name = next(iter(parts.values())).entry.name
        raise CannotConvert(path, f"{name} is not in a form of {method.label} that is known ({error})") from error


def _modules(method: Method, stored: Mapping[str, Part]) -> dict[str, dict[str, tuple[str, Part]]]:
    """The stored tensors by module ('model.layers.0.mlp.up_proj.') and last part of the name."""
    endings = {name for layout in method.layouts for name in (*layout.needed, *layout.optional)}
    longest_first = sorted(endings, key=len, reverse=True)
    modules: dict[str, dict[str, tuple[str, Part]]] = {}
    for name, part in stored.items():
        known = name
        for pattern, usual in _SAME:
            known = pattern.sub(usual, known)
        ending = next((text for text in longest_first if known.endswith(f".{text}")), None)
        if ending is not None:
            modules.setdefault(known.removesuffix(ending), {})[ending] = (name, part)
    return modules


def main_label(rows: Mapping[str, StoredRows]) -> str:
    """How most of the packed weights are quantized, in words; '' where none is."""
    sizes: dict[str, int] = {}
    for row in rows.values():
        if isinstance(row, PackedRows):
            sizes[row.label] = sizes.get(row.label, 0) + row.stored_bytes
    return max(sizes, key=lambda label: sizes[label]) if sizes else ""
