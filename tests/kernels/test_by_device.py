"""Which of the ways to compute the same is taken for a device."""

from __future__ import annotations

from kernels import column_loop, descent
from kernels.gpu import columns
from kernels.gpu import descent as plain
from tests.kernels.triton_scripts import needs_triton


def test_other_devices_take_torch() -> None:
    assert column_loop.loop_for("mps") is columns.quantize_columns
    assert descent.descend_for("xpu") is plain.descend


@needs_triton
def test_cuda_takes_triton() -> None:
    from kernels.gpu import triton_columns, triton_descent

    assert column_loop.loop_for("cuda") is triton_columns.quantize_columns
    assert descent.descend_for("cuda") is triton_descent.descend
