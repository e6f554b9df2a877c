"""Jobs that make checkpoints with the methods of core.methods.table."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.values import Value


class MethodRule(Value):
    """What layers whose name a regular expression finds get instead; what it does not say is as for all others.

    method: "" = the same. bits: 0 = the same. group, asymmetric, dynamic: None = the same. keep: they stay as they are.
    """

    pattern: str
    method: str = ""
    bits: int = 0
    group: int | None = None
    asymmetric: bool | None = None
    dynamic: bool | None = None
    keep: bool = False


class MethodOptions(Value):
    """Which checkpoint is wanted: a method and a form of core.methods.table.

    bits: 0 = the method's own. group: 0 = one scale for the tensor, -1 = for each row, None = the method's own.
    restricted: of symmetric integers, leave the lowest out. range: how much of the weights a scale covers, "" = search
    by error up to 4 bits, all of it above; percentile, range_low and range_high belong to two of these.
    double_quant: scales of NF4 and FP4 in 8 bits. dynamic: 8-bit activations, each token by its largest. imatrix: path
    of an importance matrix for the search by error, "" = none. skip: regular expressions of names that stay as they
    are. rules: for names that `skip` leaves; the first that finds a name decides. text: files that a calibrated method
    looks at, () = the program's own; samples: at most so many windows of `length` tokens.
    """

    method: str
    export: str
    bits: int = 0
    group: int | None = None
    asymmetric: bool = False
    restricted: bool = False
    range: Literal["", "minmax", "percentile", "mse", "entropy", "given"] = ""
    percentile: float = Field(default=99.9, gt=50, le=100)
    range_low: float = Field(default=0.0, le=0, allow_inf_nan=False)
    range_high: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    double_quant: bool = False
    dynamic: bool = False
    imatrix: str = ""
    skip: tuple[str, ...] = ()
    rules: tuple[MethodRule, ...] = ()
    text: tuple[str, ...] = ()
    samples: int = Field(default=128, ge=1)
    length: int = Field(default=512, ge=16)


class CheckpointPlanJob(Value):
    """Decides everything about a checkpoint without computing anything. Answer: Plan."""

    kind: Literal["checkpoint_plan"] = "checkpoint_plan"
    source: str
    options: MethodOptions


class CheckpointJob(Value):
    """Quantizes a Hugging Face folder into a checkpoint, a folder `output`. Answer: QuantizeResult."""

    kind: Literal["checkpoint"] = "checkpoint"
    source: str
    output: str
    options: MethodOptions
    threads: int = Field(default=0, ge=0, description="0 = all cores")
