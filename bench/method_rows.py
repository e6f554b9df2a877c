"""THE table of what `bench.methods` compares: ways to quantize, each as the options of one command."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMPRESSED = "compressed-tensors"


@dataclass(frozen=True, slots=True)
class Row:
    """One way to quantize. words: the command's options. importance: with an importance matrix of the model.

    quick: also in the quick selection. calibrated: looks at a text. export: the form, which must be one that
    transformers loads; only of bf16 can weights be compared.
    """

    name: str
    words: str
    importance: bool = False
    quick: bool = False
    calibrated: bool = False
    export: str = "bf16"

    def command(self, source: Path, target: Path, imatrix: Path, samples: int) -> list[str]:
        """The whole command line."""
        words = [*self.words.split(), "--export", self.export, "--out", str(target), "--json"]
        words += ["--imatrix", str(imatrix)] if self.importance else []
        words += ["--samples", str(samples)] if self.calibrated else []
        return [sys.executable, str(ROOT / "main.py"), "quantize", str(source), *words]


def _integers(bits: int, group: str, rule: str, more: str = "") -> str:
    return f"--method int --bits {bits} --group {group} --range {rule} {more}"


def _gptq(bits: int, group: str, rule: str, more: str = "") -> str:
    return f"--method gptq --bits {bits} --group {group} --range {rule} {more}"


_A8 = f"{_integers(8, 'channel', 'minmax')} --activations"

ROWS: tuple[Row, ...] = (
    Row("int8 tensor", _integers(8, "tensor", "minmax")),
    Row("int8 channel", _integers(8, "channel", "minmax")),
    Row("llm-int8", "--method llm-int8", calibrated=True),
    Row("int8 channel a8", f"{_A8} dynamic", export=COMPRESSED),
    Row("int8 channel a8 static", f"{_A8} static", calibrated=True, export=COMPRESSED),
    Row("int8 channel a8 static asym", f"{_A8} static-asymmetric", calibrated=True, export=COMPRESSED),
    Row("smoothquant a8", "--method smoothquant", calibrated=True, export=COMPRESSED),
    Row("smoothquant a8 static", "--method smoothquant --activations static", calibrated=True, export=COMPRESSED),
    Row("int4 g64 a8", f"{_integers(4, '64', 'mse')} --activations dynamic", export=COMPRESSED),
    Row(
        "smoothquant int4 g64 a8",
        "--method smoothquant --bits 4 --group 64 --range mse",
        calibrated=True,
        export=COMPRESSED,
    ),
    Row("int4 tensor", _integers(4, "tensor", "minmax"), quick=True),
    Row("int4 channel", _integers(4, "channel", "minmax"), quick=True),
    Row("int4 g64", _integers(4, "64", "minmax"), quick=True),
    Row("int4 g32", _integers(4, "32", "minmax")),
    Row("int4 channel asym", _integers(4, "channel", "minmax", "--asymmetric"), quick=True),
    Row("int4 g64 asym", _integers(4, "64", "minmax", "--asymmetric")),
    Row("int4 channel percentile", _integers(4, "channel", "percentile"), quick=True),
    Row("int4 channel entropy", _integers(4, "channel", "entropy")),
    Row("int4 channel mse", _integers(4, "channel", "mse")),
    Row("int4 g64 mse", _integers(4, "64", "mse"), quick=True),
    Row("int4 g64 asym mse", _integers(4, "64", "mse", "--asymmetric")),
    Row("int4 g64 weighted", _integers(4, "64", "mse"), importance=True, quick=True),
    Row("hqq4 g64 asym", "--method hqq --bits 4 --group 64"),
    Row("nf4", "--method nf4"),
    Row("nf4 double", "--method nf4 --double-quant"),
    Row("fp4", "--method fp4"),
    Row("gptq4 g64", _gptq(4, "64", "minmax"), quick=True, calibrated=True),
    Row("gptq4 g64 weighted", _gptq(4, "64", "mse"), quick=True, calibrated=True),
    Row("gptq4 g64 no passes", _gptq(4, "64", "mse", "--passes 0"), calibrated=True),
    Row("gptq4 g32 weighted", _gptq(4, "32", "mse"), calibrated=True),
    Row("gptq4 g64 asym weighted", _gptq(4, "64", "mse", "--asymmetric"), calibrated=True),
    Row("gptq4 g64 target", _gptq(4, "64", "mse", "--asymmetric-target 0.25"), calibrated=True),
    Row("awq4 g64 asym", "--method awq --bits 4 --group 64", calibrated=True),
    Row("gptq4 g64 weighted awq", _gptq(4, "64", "mse", "--prestep awq"), calibrated=True),
    Row("int3 channel", _integers(3, "channel", "minmax")),
    Row("int3 g64", _integers(3, "64", "minmax")),
    Row("int3 g64 mse", _integers(3, "64", "mse")),
    Row("int3 g64 asym", _integers(3, "64", "minmax", "--asymmetric")),
    Row("int3 g64 asym mse", _integers(3, "64", "mse", "--asymmetric")),
    Row("int3 channel percentile", _integers(3, "channel", "percentile:99")),
    Row("int3 channel mse", _integers(3, "channel", "mse")),
    Row("int3 g64 weighted", _integers(3, "64", "mse"), importance=True),
    Row("hqq3 g64 asym", "--method hqq --bits 3 --group 64"),
    Row("awq3 g64 asym", "--method awq --bits 3 --group 64", calibrated=True),
    Row("gptq3 g64", _gptq(3, "64", "minmax"), calibrated=True),
    Row("gptq3 g64 weighted", _gptq(3, "64", "mse"), calibrated=True),
    Row("int2 g32 asym weighted", _integers(2, "32", "mse", "--asymmetric"), importance=True),
    Row("gptq2 g32 asym weighted", _gptq(2, "32", "mse", "--asymmetric"), calibrated=True),
)
