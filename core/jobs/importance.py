"""Computing importance matrices, and what is known of them then."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.values import Value


class ImatrixJob(Value):
    """Computes an importance matrix from text and writes it as GGUF. Answer: ImatrixResult.

    text: paths of text files, () = the calibration text that comes with the program. output: an existing folder, or
    the file itself. context: tokens of one window. chunks: how many windows at most, 0 = all that the text gives.
    process_output: the output layer gets an entry, too.
    """

    kind: Literal["imatrix"] = "imatrix"
    source: str
    output: str
    text: tuple[str, ...] = ()
    context: int = Field(default=512, ge=16)
    chunks: int = Field(default=0, ge=0)
    process_output: bool = False
    threads: int = Field(default=0, ge=0, description="0 = all cores")
    device: Literal["cpu", "cuda"] = "cpu"


class ImatrixTensor(Value):
    """Coverage of one weight matrix, or of one for each expert. shape: (matrices, columns).

    tokens: how many activations were summed, over all experts. fewest, most: of the experts. unused: experts that no
    token met. rare: experts (the unused among them) that met so few that their importance is blended with that of all
    when the file is used (core.imatrix).
    """

    name: str
    shape: tuple[int, int]
    tokens: int
    fewest: int
    most: int
    unused: int = 0
    rare: int = 0


class ImatrixResult(Value):
    """A finished importance matrix. output: the file. datasets: what it was computed from, by name.

    tokens: chunks times context. warnings: what the user should know, one sentence each.
    """

    source: str
    output: str
    architecture: str
    datasets: tuple[str, ...]
    context: int
    chunks: int
    tokens: int
    seconds: float
    peak_memory_bytes: int
    tensors: tuple[ImatrixTensor, ...]
    warnings: tuple[str, ...] = ()
