"""Tiny Llama folders as other programs quantize them, each with the weights that it stands for.

GPTQ, AWQ and FP8 are packed here, bit by bit from their published layouts, with integers of Python's; the other forms
by the libraries that define them (compressed-tensors, bitsandbytes, transformers).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from tests.core import hf_tiny

with warnings.catch_warnings():  # torch's own modules warn of themselves while these are imported
    warnings.simplefilter("ignore", DeprecationWarning)
    from bitsandbytes import functional
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from transformers.integrations.bitnet import pack_weights

Tensors = dict[str, torch.Tensor]
GROUP = 32


@dataclass(frozen=True)
class Packed:
    """One way to quantize. module: a weight to (its stored tensors by last part of the name, what they stand for).

    config: the quantization_config. label: what the summary is to say; type: of each packed tensor.
    """

    module: Callable[[np.ndarray, np.random.Generator], tuple[Tensors, np.ndarray]]
    config: dict[str, Any]
    label: str
    type: str


def build(case: Packed, folder: Path, config: dict[str, Any] | None = None) -> tuple[Path, Path]:
    """(the quantized folder, a folder with the weights it stands for in F32). Linear layers are quantized."""
    chance = np.random.default_rng(1)
    sizes = config or {}
    packed: Tensors = {}
    plain: Tensors = {}
    for name, weight in hf_tiny.tensors({**hf_tiny.CONFIG, **sizes}).items():
        values = weight.astype(np.float32)
        if "proj" not in name:
            packed[name] = plain[name] = torch.from_numpy(values)
            continue
        parts, meant = case.module(values, chance)
        packed |= {name.removesuffix("weight") + ending: tensor.contiguous() for ending, tensor in parts.items()}
        plain[name] = torch.from_numpy(np.ascontiguousarray(meant, np.float32))
    folders = folder / "packed", folder / "plain"
    hf_tiny.build(folders[0], config={"quantization_config": case.config, **sizes})
    hf_tiny.build(folders[1], config=sizes)
    for place, tensors in zip(folders, (packed, plain), strict=True):
        save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
    return folders


# ---------------------------------------------------------------- GPTQ and AWQ


def _words(codes: list[int], bits: int) -> list[int]:
    """Codes from the lowest bit on, as signed 32-bit words."""
    stream = sum(int(code) << (bits * place) for place, code in enumerate(codes))
    data = stream.to_bytes(-(-len(codes) * bits // 32) * 4, "little")
    return [int.from_bytes(data[at : at + 4], "little", signed=True) for at in range(0, len(data), 4)]


def gptq(bits: int, shift: int, order: bool = False, symmetric: bool = False, group: int = GROUP, index: bool = True):
    """Random codes, scales and zero points of a module, packed as GPTQ has them; shift: what zeros are less in file."""

    def module(weight: np.ndarray, chance: np.random.Generator) -> tuple[Tensors, np.ndarray]:
        rows, length = weight.shape
        width = group if group > 0 else length
        groups = length // width
        codes = chance.integers(0, 1 << bits, (length, rows))
        zeros = chance.integers(0, 1 << bits, (groups, rows))
        if symmetric:
            zeros[:] = 1 << (bits - 1)
        scales = chance.uniform(0.001, 0.01, (groups, rows)).astype(np.float16)
        of = np.arange(length) // width
        if order:
            of = chance.permutation(of)
        meant = np.array([[float(scales[of[k], n]) * (int(codes[k, n]) - int(zeros[of[k], n])) for k in range(length)]
                          for n in range(rows)])  # fmt: skip
        stored = (zeros - shift) % (1 << bits)
        parts = {
            "qweight": torch.tensor([_words(codes[:, n].tolist(), bits) for n in range(rows)], dtype=torch.int32).T,
            "qzeros": torch.tensor([_words(line.tolist(), bits) for line in stored], dtype=torch.int32),
            "scales": torch.from_numpy(scales),
        }
        if index:
            parts["g_idx"] = torch.from_numpy(of.astype(np.int32))
        return parts, meant

    return module


def awq(weight: np.ndarray, chance: np.random.Generator) -> tuple[Tensors, np.ndarray]:
    """As AutoAWQ's gemm layout: nibble i of a word is column order[i] of its eight."""
    rows, length = weight.shape
    codes, zeros = chance.integers(0, 16, (length, rows)), chance.integers(0, 16, (length // GROUP, rows))
    scales = chance.uniform(0.001, 0.01, zeros.shape).astype(np.float16)
    repeated = [np.repeat(table, GROUP, axis=0) for table in (zeros, scales.astype(np.float32))]
    order = [0, 2, 4, 6, 1, 3, 5, 7]

    def packed(table: np.ndarray) -> torch.Tensor:
        lines = [[_words([line[at + place] for place in order], 4)[0] for at in range(0, rows, 8)] for line in table]
        return torch.tensor(lines, dtype=torch.int32)

    parts = {"qweight": packed(codes), "qzeros": packed(zeros), "scales": torch.from_numpy(scales)}
    return parts, ((codes - repeated[0]) * repeated[1]).T


# ---------------------------------------------------------------- 8 bits with scales


def fp8(block: tuple[int, int] | None, ending: str, dtype: torch.dtype = torch.float8_e4m3fn):
    """Weights rounded to an 8-bit float by torch; block None: one scale per tensor."""

    def module(weight: np.ndarray, chance: np.random.Generator) -> tuple[Tensors, np.ndarray]:
        rows, length = weight.shape
        high, wide = block or weight.shape
        shape = (-(-rows // high), -(-length // wide))
        scales = torch.from_numpy(chance.uniform(0.5, 2, shape).astype(np.float32))
        codes = torch.from_numpy(weight * 100).to(dtype)
        spread = scales.repeat_interleave(high, 0).repeat_interleave(wide, 1)[:rows, :length]
        stored = scales if block else scales.reshape(())
        return {"weight": codes, ending: stored, "input_scale": torch.ones(1)}, (codes.float() * spread).numpy()

    return module


def int8(scale_name: str) -> Callable[[np.ndarray, np.random.Generator], tuple[Tensors, np.ndarray]]:
    """LLM.int8 of bitsandbytes, quantized and dequantized by it."""

    def module(weight: np.ndarray, chance: np.random.Generator) -> tuple[Tensors, np.ndarray]:
        codes, row_stats, _ = functional.int8_vectorwise_quant(torch.from_numpy(weight).to(torch.float16))
        parts = {"weight": codes, scale_name: row_stats, "weight_format": torch.tensor(0, dtype=torch.uint8)}
        return parts, functional.int8_vectorwise_dequant(codes, row_stats).numpy()

    return module


def four_bit(kind: str, double: bool, block: int = 64, storage: torch.dtype = torch.uint8):
    """NF4 and FP4 of bitsandbytes, quantized and dequantized by it."""

    def module(weight: np.ndarray, chance: np.random.Generator) -> tuple[Tensors, np.ndarray]:
        codes, state = functional.quantize_4bit(
            torch.from_numpy(weight),
            blocksize=block,
            compress_statistics=double,
            quant_type=kind,
            quant_storage=storage,
        )
        parts = {f"weight.{name}": tensor for name, tensor in state.as_dict(packed=True).items()}
        # Blocks run over the ends of rows, which bitsandbytes 0.50 forgets on processors: it is shown blocks as rows.
        state.shape = torch.Size((weight.size // block, block))
        return {"weight": codes, **parts}, functional.dequantize_4bit(codes, state).numpy().reshape(weight.shape)

    return module


# ---------------------------------------------------------------- compressed-tensors


def compressed(form: str, **arguments: Any):
    """A weight through a compressor of compressed-tensors and back; scales and zero points are random."""

    def module(weight: np.ndarray, chance: np.random.Generator) -> tuple[Tensors, np.ndarray]:
        args = QuantizationArgs(**arguments)
        scheme = QuantizationScheme(targets=["Linear"], weights=args)
        state = {"weight": torch.from_numpy(weight), **_parameters(weight.shape, args, chance)}
        compressor = BaseCompressor.get_value_from_registry(form)
        parts = compressor.compress(state, scheme)
        meant = compressor.decompress(dict(parts), scheme)["weight"]
        return parts, meant.float().numpy()

    return module


def _parameters(shape: tuple[int, ...], args: Any, chance: np.random.Generator) -> Tensors:
    """Scales, and zero points where the arguments want them, in the shapes that the strategy has."""
    rows, length = shape
    high, wide = args.block_structure or (1, 1)
    shapes = {
        "tensor": (1,),
        "channel": (rows, 1),
        "group": (rows, length // (args.group_size or 1)),
        "tensor_group": (rows, length // (args.group_size or 1)),
        "block": (-(-rows // high), -(-length // wide)),
    }
    size = shapes[str(args.strategy)]
    found: Tensors = {"weight_scale": torch.from_numpy(chance.uniform(0.005, 0.02, size).astype(np.float32))}
    if str(args.strategy) == "tensor_group":
        found["weight_global_scale"] = torch.tensor([4.0])
        found["weight_scale"] = found["weight_scale"].to(torch.float8_e4m3fn).float()
    if args.num_bits == 4 and str(args.type) == "float" and args.group_size == 32:
        found["weight_scale"] = torch.from_numpy(np.exp2(chance.integers(-8, -4, size)).astype(np.float32))
    if not args.symmetric:
        low = -(1 << (args.num_bits - 1))
        found["weight_zero_point"] = torch.from_numpy(chance.integers(low, -low, size).astype(np.int8))
    return found


def _compressed_config(form: str, **weights: Any) -> dict[str, Any]:
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        "ignore": ["lm_head"],
    }


# ---------------------------------------------------------------- BitNet


def bitnet(inverted: bool) -> Callable[[np.ndarray, np.random.Generator], tuple[Tensors, np.ndarray]]:
    """Random ternary weights through the packing of transformers."""

    def module(weight: np.ndarray, chance: np.random.Generator) -> tuple[Tensors, np.ndarray]:
        codes = torch.from_numpy(chance.integers(-1, 2, weight.shape).astype(np.float32))
        scale = torch.tensor([chance.uniform(0.5, 3)]).to(torch.bfloat16)
        meant = codes / scale.float() if inverted else codes * scale.float()
        return {"weight": pack_weights(codes.clone()), "weight_scale": scale}, meant.numpy()

    return module


# ---------------------------------------------------------------- all of them


def _gptq_config(bits: int, form: str = "gptq", **more: Any) -> dict[str, Any]:
    return {"quant_method": "gptq", "bits": bits, "group_size": GROUP, "checkpoint_format": form, **more}


_BNB4 = {"quant_method": "bitsandbytes", "load_in_4bit": True}
_GROUPED = {"type": "int", "strategy": "group", "group_size": GROUP}
_GPTQ4 = "GPTQ 4-bit, group 32"


def _pack(bits: int, symmetric: bool, label: str = "group 32", **arguments: Any) -> Packed:
    form = "pack-quantized"
    module = compressed(form, num_bits=bits, symmetric=symmetric, **(arguments or _GROUPED))
    return Packed(module, _compressed_config(form), f"compressed-tensors {bits}-bit, {label}", f"INT{bits}")


def _dense(form: str, label: str, type_name: str, **arguments: Any) -> Packed:
    block = {"block_structure": arguments.get("block_structure")}
    return Packed(compressed(form, **arguments), _compressed_config(form, **block), label, type_name)


_INT8 = {"num_bits": 8, "type": "int", "strategy": "channel"}
_FP8 = {"num_bits": 8, "type": "float", "symmetric": True}
_FP4 = {"num_bits": 4, "type": "float", "symmetric": True}
_EIGHT = "compressed-tensors 8-bit"


def _nf4(double: bool, label: str, block: int = 64, storage: torch.dtype = torch.uint8) -> Packed:
    return Packed(four_bit("nf4", double, block, storage), _BNB4, f"bitsandbytes NF4, {label}", "NF4")


def _fp8(block: tuple[int, int] | None, label: str, ending: str = "weight_scale_inv", **config: Any) -> Packed:
    return Packed(fp8(block, ending), {"quant_method": "fp8", **config}, f"FP8, {label}", "FP8")


CASES: dict[str, Packed] = {
    **{
        f"gptq-{bits}": Packed(gptq(bits, 1), _gptq_config(bits), f"GPTQ {bits}-bit, group 32", f"GPTQ{bits}")
        for bits in (2, 3, 4, 8)
    },
    "gptq-v2-3": Packed(gptq(3, 0), _gptq_config(3, "gptq_v2"), "GPTQ 3-bit, group 32", "GPTQ3"),
    "gptq-v2-4": Packed(gptq(4, 0), _gptq_config(4, "gptq_v2"), _GPTQ4, "GPTQ4"),
    "gptq-symmetric": Packed(gptq(4, 1, symmetric=True), _gptq_config(4, sym=True), _GPTQ4, "GPTQ4"),
    "gptq-order": Packed(gptq(4, 1, order=True), _gptq_config(4), f"{_GPTQ4}, activation order", "GPTQ4"),
    "gptq-channel": Packed(gptq(4, 1, group=-1), _gptq_config(4), "GPTQ 4-bit, one scale per row", "GPTQ4"),
    "gptq-no-index": Packed(gptq(4, 1, index=False), _gptq_config(4), _GPTQ4, "GPTQ4"),
    "auto-round": Packed(
        gptq(4, 1), {"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq"}, _GPTQ4, "GPTQ4"
    ),
    "awq": Packed(awq, {"quant_method": "awq", "version": "gemm"}, "AWQ 4-bit, group 32", "AWQ4"),
    "fp8-blocks": _fp8((32, 32), "blocks of 32 × 32", weight_block_size=[32, 32]),
    "fp8-odd-blocks": _fp8((40, 40), "blocks of 40 × 40", weight_block_size=[40, 40]),
    "fp8-tensor": _fp8(None, "one scale per tensor"),
    "fp8-rows": _fp8((1, 1000), "one scale per row", "weight_scale", quant_method="fbgemm_fp8"),
    "fp8-e5m2": Packed(
        fp8(None, "weight_scale", torch.float8_e5m2),
        {"quant_method": "modelopt", "quant_algo": "FP8"},
        "ModelOpt FP8, one scale per tensor",
        "FP8",
    ),
    "nf4-plain": _nf4(False, "block 64"),
    "nf4-double": _nf4(True, "block 64, double quantization"),
    "nf4-large": _nf4(True, "block 128, double quantization", block=128),
    "nf4-bf16": _nf4(False, "block 64", storage=torch.bfloat16),
    "fp4": Packed(four_bit("fp4", False), _BNB4, "bitsandbytes FP4, block 64", "bnb-FP4"),
    "bnb-int8": Packed(int8("SCB"), {"quant_method": "bitsandbytes"}, "bitsandbytes 8-bit, one scale per row", "INT8"),
    **{f"pack-{bits}": _pack(bits, True) for bits in range(2, 9)},
    **{f"pack-asymmetric-{bits}": _pack(bits, False) for bits in (3, 4, 8)},
    "pack-channel": _pack(4, False, "one scale per row", type="int", strategy="channel"),
    "pack-tensor": _pack(4, True, "one scale per tensor", type="int", strategy="tensor"),
    "ct-int8": _dense("int-quantized", f"{_EIGHT}, one scale per row", "INT8", symmetric=True, **_INT8),
    "ct-int8-asymmetric": _dense("int-quantized", f"{_EIGHT}, one scale per row", "INT8", symmetric=False, **_INT8),
    "ct-fp8": _dense("float-quantized", f"{_EIGHT}, one scale per tensor", "FP8", strategy="tensor", **_FP8),
    "ct-fp8-blocks": _dense(
        "naive-quantized", f"{_EIGHT}, blocks of 32 × 32", "FP8", strategy="block", block_structure=[32, 32], **_FP8
    ),
    "ct-nvfp4": _dense(
        "nvfp4-pack-quantized", "NVFP4, group 16", "NVFP4-packed", strategy="tensor_group", group_size=16, **_FP4
    ),
    "ct-mxfp4": _dense(
        "mxfp4-pack-quantized", "MXFP4, group 32", "MXFP4-packed", strategy="group", group_size=32, **_FP4
    ),
    **{
        name: Packed(bitnet(inverted), {"quant_method": "bitnet", "linear_class": name}, "BitNet ternary", "TERNARY")
        for name, inverted in (("bitlinear", True), ("autobitlinear", False))
    },
}
