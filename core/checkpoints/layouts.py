"""THE table of how a quantized matrix is laid out in each form of checkpoint: its tensors, their bytes, the config.

Facts: compressed-tensors' pack_quantized and naive_quantized, GPTQModel's and AutoAWQ's packing, bitsandbytes'
QuantState.as_dict, transformers' integrations/bitnet.py and its quantization configs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.checkpoints.names import patterns, with_fused
from core.checkpoints.settings import Settings
from core.checkpoints.solve import Quantized
from core.formats import packing
from core.formats.safetensors_writer import Slot
from core.methods import bitnet, fourbit
from core.methods.bitnet import Signs
from core.methods.fourbit import BLOCK, NESTED_BLOCK, FourBit, NestedScales
from core.methods.linear import Floats, Linear, grid
from core.methods.llm_int8 import THRESHOLD, Rows
from core.methods.table import CHANNEL, TENSOR, Choice
from kernels import dispatch

Array = NDArray[Any]
# The text that describes an NF4 matrix is padded to this, so that its size is known before its numbers are.
STATE_BYTES = 256


@dataclass(frozen=True, slots=True)
class Matrix:
    """The weights of one linear layer. module: its name. dtype: what they are stored in. shape: (rows, columns).

    compute: what the model computes in, as torch names it. is_biased: whether any linear layer of the model has a bias.
    """

    module: str
    dtype: str
    shape: tuple[int, int]
    compute: str
    is_biased: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """One form. problem: why a matrix cannot have it, or ''. slots and arrays: its tensors, in the same order.

    config: the `quantization_config` of all layers. held: what of a quantized matrix the form holds.
    """

    problem: Callable[[Settings, Matrix], str]
    slots: Callable[[Settings, Matrix], list[Slot]]
    arrays: Callable[[Settings, Matrix, Quantized], list[Array]]
    config: Callable[[Contents], dict[str, Any]]
    held: Callable[[Matrix, Quantized], Quantized] = lambda matrix, made: made


@dataclass(frozen=True, slots=True)
class Contents:
    """All linear layers of a checkpoint, by name. kept: those that stay as they are. compute, is_biased: as in Matrix.

    settings: of most layers. chosen: what each quantized one got, all of the same where nothing is mixed.
    """

    settings: Settings
    kept: Sequence[str]
    chosen: Mapping[str, Choice]
    compute: str
    is_biased: bool = False

    @property
    def groups(self) -> dict[Choice, list[str]]:
        """The layers that share a form, those of `settings` first; the method makes no difference to it."""
        found: dict[Choice, list[str]] = {replace(self.settings.choice, method=""): []}
        for name, choice in self.chosen.items():
            found.setdefault(replace(choice, method=""), []).append(name)
        return {choice: names for choice, names in found.items() if names}

    @property
    def patterns(self) -> dict[Choice | None, list[str]]:
        """Regular expressions of those names; None: of the layers that stay as they are."""
        named: dict[Choice | None, list[str]] = {None: list(self.kept)}
        named.update(self.groups.items())
        return patterns(named)


def input_slots(settings: Settings, matrix: Matrix) -> list[Slot]:
    """What a layer with static activations has beside its weights: the scale of its inputs, and their zero point."""
    if not settings.is_static:
        return []
    slots = [Slot(f"{matrix.module}.input_scale", matrix.dtype, (1,))]
    return slots if settings.inputs_scheme(matrix.dtype).symmetric else [*slots, _zero_slot(matrix)]


def _zero_slot(matrix: Matrix) -> Slot:
    return Slot(f"{matrix.module}.input_zero_point", "I8", (1,))


def input_arrays(settings: Settings, matrix: Matrix, ends: tuple[float, float]) -> list[Array]:
    """The same as arrays, for inputs in the range `ends`."""
    scheme = settings.inputs_scheme(matrix.dtype)
    low, high = (np.array([end], np.float32) for end in ends)
    scales, zeros = grid(low, high, scheme)
    arrays: list[Array] = [stored_floats(scales, matrix.dtype).reshape(-1), zeros.astype(np.int8)]
    return arrays[: len(input_slots(settings, matrix))]


def stored_floats(x: Floats, dtype: str) -> Array:
    """Numbers in a safetensors type, as bytes (rows, bytes of a row)."""
    encoded: Array = dispatch.encode(dtype, np.ascontiguousarray(x.reshape(-1, x.shape[-1])))
    return encoded


def _unsigned(values: NDArray[np.int8], bits: int) -> packing.Codes:
    return (values.astype(np.int16) + (1 << (bits - 1))).astype(np.uint8)


# ---------------------------------------------------------------- compressed-tensors


def _group_problem(settings: Settings, matrix: Matrix) -> str:
    group = settings.choice.group
    if group > 0 and matrix.shape[1] % group:
        return f"its rows have {matrix.shape[1]} weights, which groups of {group} do not divide"
    return ""


def _ct_scale_shape(settings: Settings, matrix: Matrix) -> tuple[int, ...]:
    shape = settings.scheme(matrix.dtype).scale_shape(*matrix.shape)
    return (1,) if settings.choice.group == TENSOR else shape


def _ct_slots(settings: Settings, matrix: Matrix) -> list[Slot]:
    (rows, columns), choice, name = matrix.shape, settings.choice, matrix.module
    scales = _ct_scale_shape(settings, matrix)
    if choice.activations:
        return [Slot(f"{name}.weight", "I8", matrix.shape), Slot(f"{name}.weight_scale", matrix.dtype, scales)]
    words = packing.words_for(columns, choice.bits)
    slots = [
        Slot(f"{name}.weight_packed", "I32", (rows, words)),
        Slot(f"{name}.weight_scale", matrix.dtype, scales),
        Slot(f"{name}.weight_shape", "I64", (2,)),
    ]
    if not choice.symmetric:
        packed = (packing.words_for(rows, choice.bits), scales[-1])
        is_tensor = choice.group == TENSOR
        slots.append(Slot(f"{name}.weight_zero_point", "I8" if is_tensor else "I32", scales if is_tensor else packed))
    return slots


def _ct_arrays(settings: Settings, matrix: Matrix, made: Quantized) -> list[Array]:
    assert isinstance(made, Linear)
    scales, choice = stored_floats(made.scales, matrix.dtype), settings.choice
    if choice.activations:
        return [made.codes, scales]
    packed = packing.stream(_unsigned(made.codes, choice.bits), choice.bits)
    arrays: list[Array] = [packed, scales, np.array(matrix.shape, np.int64)]
    if choice.symmetric:
        return arrays
    if choice.group == TENSOR:
        return [*arrays, made.zeros]
    zeros = np.ascontiguousarray(_unsigned(made.zeros, choice.bits).T)
    return [*arrays, np.ascontiguousarray(packing.stream(zeros, choice.bits).T)]


def _ct_config(contents: Contents) -> dict[str, Any]:
    groups, formats = contents.groups, {_ct_format(choice) for choice in contents.groups}
    told = contents.patterns
    targets = told if len(groups) > 1 else {choice: ["Linear"] for choice in groups}
    written = {
        f"group_{number}": _ct_group(choice, [_ct_target(target) for target in targets[choice]])
        for number, choice in enumerate(groups)
    }
    if len(formats) > 1:
        for choice, group in zip(groups, written.values(), strict=True):
            group["format"] = _ct_format(choice)
    return {
        "quant_method": "compressed-tensors",
        "format": formats.pop() if len(formats) == 1 else "mixed-precision",
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "kv_cache_scheme": None,
        "ignore": list(contents.kept),
        "config_groups": written,
    }


def _ct_format(choice: Choice) -> str:
    return "int-quantized" if choice.activations else "pack-quantized"


CT_INPUTS: dict[str, dict[str, Any]] = {
    "dynamic": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True},
    "static": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "tensor", "dynamic": False},
    "static-asymmetric": {"num_bits": 8, "type": "int", "symmetric": False, "strategy": "tensor", "dynamic": False},
}


def _ct_target(pattern: str) -> str:
    return pattern if pattern == "Linear" else f"re:{pattern}$"


def _ct_group(choice: Choice, targets: list[str]) -> dict[str, Any]:
    strategy = {TENSOR: "tensor", CHANNEL: "channel"}.get(choice.group, "group")
    weights = {
        "num_bits": choice.bits,
        "type": "int",
        "symmetric": choice.symmetric,
        "strategy": strategy,
        "group_size": choice.group if choice.group > 0 else None,
        "actorder": None,
        "block_structure": None,
        "dynamic": False,
        "observer": "minmax",
        "observer_kwargs": {},
    }
    return {
        "targets": targets,
        "weights": weights,
        "input_activations": CT_INPUTS.get(choice.activations),
        "output_activations": None,
    }


# ---------------------------------------------------------------- GPTQ and AWQ


def _gptq_problem(settings: Settings, matrix: Matrix) -> str:
    bits, (rows, columns) = settings.choice.bits, matrix.shape
    if rows * bits % 32 or columns * bits % 32:
        return f"its {rows} × {columns} weights of {bits} bits do not fill whole words of 32 bits"
    return _group_problem(settings, matrix)


def _gptq_slots(settings: Settings, matrix: Matrix) -> list[Slot]:
    (rows, columns), bits, name = matrix.shape, settings.choice.bits, matrix.module
    groups = settings.scheme(matrix.dtype).scale_shape(*matrix.shape)[1]
    return [
        Slot(f"{name}.qweight", "I32", (columns * bits // 32, rows)),
        Slot(f"{name}.qzeros", "I32", (groups, rows * bits // 32)),
        Slot(f"{name}.scales", "F16", (groups, rows)),
        Slot(f"{name}.g_idx", "I32", (columns,)),
    ]


def _gptq_arrays(settings: Settings, matrix: Matrix, made: Quantized) -> list[Array]:
    assert isinstance(made, Linear)
    bits, columns = settings.choice.bits, matrix.shape[1]
    return [
        packing.gptq_weights(_unsigned(made.codes, bits), bits),
        packing.gptq_zeros(_unsigned(made.zeros, bits), bits),
        np.ascontiguousarray(made.scales.T).astype(np.float16),
        (np.arange(columns) // (columns // made.scales.shape[1])).astype(np.int32),
    ]


def _gptq_config(contents: Contents) -> dict[str, Any]:
    choice, groups = contents.settings.choice, contents.groups
    told = contents.patterns
    rules: dict[str, Any] = {f"-:^{pattern}$": {} for pattern in with_fused(told[None]) if pattern != "lm_head"}
    for other in [group for group in groups if group != replace(choice, method="")]:
        values = {"bits": other.bits, "group_size": other.group, "sym": other.symmetric, "desc_act": False}
        rules |= {f"+:^{pattern}$": values for pattern in with_fused(told[other])}
    return {
        "quant_method": "gptq",
        "bits": choice.bits,
        "group_size": choice.group,
        "desc_act": False,
        "sym": choice.symmetric,
        "lm_head": False,
        "checkpoint_format": "gptq",
        "pack_dtype": "int32",
        "meta": {"quantizer": ["bitwright"]},
        **({"dynamic": rules} if rules else {}),
    }


def _awq_problem(settings: Settings, matrix: Matrix) -> str:
    if matrix.shape[0] % 8:
        return f"it has {matrix.shape[0]} rows, and eight are packed together"
    return _group_problem(settings, matrix)


def _awq_slots(settings: Settings, matrix: Matrix) -> list[Slot]:
    (rows, columns), name = matrix.shape, matrix.module
    groups = columns // settings.choice.group
    return [
        Slot(f"{name}.qweight", "I32", (columns, rows // 8)),
        Slot(f"{name}.qzeros", "I32", (groups, rows // 8)),
        Slot(f"{name}.scales", "F16", (groups, rows)),
    ]


def _awq_arrays(settings: Settings, matrix: Matrix, made: Quantized) -> list[Array]:
    assert isinstance(made, Linear)
    return [
        packing.awq_words(_unsigned(made.codes, 4)),
        packing.awq_words(_unsigned(made.zeros, 4)),
        np.ascontiguousarray(made.scales.T).astype(np.float16),
    ]


def _awq_config(contents: Contents) -> dict[str, Any]:
    skipped = [name for name in contents.kept if name != "lm_head"]
    return {
        "quant_method": "awq",
        "bits": 4,
        "group_size": contents.settings.choice.group,
        "zero_point": True,
        "version": "gemm",
        "modules_to_not_convert": skipped or None,
    }


# ---------------------------------------------------------------- bitsandbytes


def _bnb_problem(settings: Settings, matrix: Matrix) -> str:
    if settings.choice.method != "llm-int8" and matrix.shape[0] * matrix.shape[1] % 2:
        return "it has an odd number of weights, and two are packed together"
    return ""


def _bnb_slots(settings: Settings, matrix: Matrix) -> list[Slot]:
    rows, columns = matrix.shape
    name = f"{matrix.module}.weight"
    if settings.choice.method == "llm-int8":
        return [
            Slot(name, "I8", matrix.shape),
            Slot(f"{matrix.module}.SCB", "F32", (rows,)),
            Slot(f"{matrix.module}.weight_format", "U8", ()),
        ]
    blocks = -(-rows * columns // BLOCK)
    slots = [
        Slot(name, "U8", (rows * columns // 2, 1)),
        Slot(f"{name}.absmax", "U8" if settings.double else "F32", (blocks,)),
        Slot(f"{name}.quant_map", "F32", (16,)),
        Slot(f"{name}.quant_state.bitsandbytes__{settings.choice.method}", "U8", (STATE_BYTES,)),
    ]
    if settings.double:
        nested = -(-blocks // NESTED_BLOCK)
        slots += [Slot(f"{name}.nested_absmax", "F32", (nested,)), Slot(f"{name}.nested_quant_map", "F32", (256,))]
    return slots


def _bnb_arrays(settings: Settings, matrix: Matrix, made: Quantized) -> list[Array]:
    if isinstance(made, Rows):
        return [made.codes, made.absmax, np.zeros((), np.uint8)]
    assert isinstance(made, FourBit)
    state = {"quant_type": made.kind, "blocksize": BLOCK, "dtype": matrix.compute, "shape": list(matrix.shape)}
    levels = fourbit.LEVELS[made.kind]
    if not isinstance(made.absmax, NestedScales):
        return [packing.nibbles(made.codes), made.absmax, levels, _state(state)]
    state |= {"nested_blocksize": NESTED_BLOCK, "nested_dtype": "float32", "nested_offset": float(made.absmax.offset)}
    scales = made.absmax
    nested = [scales.absmax, fourbit.dynamic_levels()]
    return [packing.nibbles(made.codes), scales.codes, levels, _state(state), *nested]


def _state(values: dict[str, Any]) -> Array:
    return np.frombuffer(json.dumps(values).encode().ljust(STATE_BYTES), np.uint8)


def _bnb_config(contents: Contents) -> dict[str, Any]:
    settings = contents.settings
    is_rows = settings.choice.method == "llm-int8"
    return {
        "quant_method": "bitsandbytes",
        "load_in_8bit": is_rows,
        "load_in_4bit": not is_rows,
        "llm_int8_threshold": THRESHOLD,
        "llm_int8_skip_modules": list(contents.kept),
        "llm_int8_enable_fp32_cpu_offload": False,
        "llm_int8_has_fp16_weight": False,
        "bnb_4bit_quant_type": "fp4" if is_rows else settings.choice.method,
        "bnb_4bit_use_double_quant": settings.double,
        "bnb_4bit_compute_dtype": contents.compute,
        "bnb_4bit_quant_storage": "uint8",
    }


# ---------------------------------------------------------------- BitNet


def _bitnet_problem(settings: Settings, matrix: Matrix) -> str:
    return f"it has {matrix.shape[0]} rows, and four are packed together" if matrix.shape[0] % 4 else ""


def _bitnet_slots(settings: Settings, matrix: Matrix) -> list[Slot]:
    rows, columns = matrix.shape
    return [
        Slot(f"{matrix.module}.weight", "U8", (rows // 4, columns)),
        Slot(f"{matrix.module}.weight_scale", "BF16", (1,)),
    ]


def _bitnet_arrays(settings: Settings, matrix: Matrix, made: Quantized) -> list[Array]:
    assert isinstance(made, Signs)
    scale = np.array([[bitnet.stored_scale(made, inverted=matrix.is_biased)]], np.float32)
    return [packing.ternary_bytes(made.codes), stored_floats(scale, "BF16")]


def _bitnet_held(matrix: Matrix, made: Quantized) -> Quantized:
    assert isinstance(made, Signs)
    return bitnet.as_stored(made, inverted=matrix.is_biased)


def _bitnet_config(contents: Contents) -> dict[str, Any]:
    # The class that multiplies holds scales of ternary models as they are, which 1 / scale would not; but it multiplies
    # a layer's bias, too.
    return {
        "quant_method": "bitnet",
        "linear_class": "bitlinear" if contents.is_biased else "autobitlinear",
        "quantization_mode": "offline",
        "modules_to_not_convert": list(contents.kept),
    }


# ---------------------------------------------------------------- not packed


def _plain_slots(settings: Settings, matrix: Matrix) -> list[Slot]:
    return [Slot(f"{matrix.module}.weight", "BF16", matrix.shape)]


def _plain_arrays(settings: Settings, matrix: Matrix, made: Quantized) -> list[Array]:
    return [stored_floats(made.values(), "BF16")]


def _plain_config(contents: Contents) -> dict[str, Any]:
    return {}


LAYOUTS: dict[str, Layout] = {
    "compressed-tensors": Layout(_group_problem, _ct_slots, _ct_arrays, _ct_config),
    "gptq": Layout(_gptq_problem, _gptq_slots, _gptq_arrays, _gptq_config),
    "awq": Layout(_awq_problem, _awq_slots, _awq_arrays, _awq_config),
    "bitsandbytes": Layout(_bnb_problem, _bnb_slots, _bnb_arrays, _bnb_config),
    "bitnet": Layout(_bitnet_problem, _bitnet_slots, _bitnet_arrays, _bitnet_config, _bitnet_held),
    "bf16": Layout(_group_problem, _plain_slots, _plain_arrays, _plain_config),
}
