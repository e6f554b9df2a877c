"""Triton's kernels against the torch functions that they stand for, and which of the two is called."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from kernels.codecs import AffineSearch
from kernels.gpu import fusing, measure, nonlinear, search
from tests.kernels import samples, triton_scripts

# The interpreter takes a fraction of a millisecond for every operation on all groups, so that groups are short here.
SHORT = AffineSearch(nmax=15, first=-1.0, step=0.1, steps=5)
FUNCTIONS = {"search_values": nonlinear, "sums_of": measure}


def cases() -> list[tuple[str, tuple[object, ...]]]:
    """Functions with arguments: groups of every edge and distribution."""
    rows = [samples.edge(name)[:2, :256].ravel() for name in samples.EDGES]
    x = torch.from_numpy(np.concatenate([*rows, *(samples.weights(name)[:1024] for name in samples.DISTRIBUTIONS)]))
    w = torch.from_numpy(np.random.default_rng(1).gamma(0.5, 2.0, len(x)).astype(np.float32))
    groups, weights = x.view(-1, 4), w.view(-1, 4)
    return [
        ("sequential_sum", (x.view(32, -1),)),
        ("make_qx_quants", (groups, 32)),
        ("make_qx_quants", (groups, 8, weights)),
        ("make_q3_quants", (groups, 4)),
        ("make_qp_quants", (groups.abs(), 63, weights)),
        ("make_qkx2_quants", (groups, weights, SHORT)),
        ("make_qkx2_quants", (groups, groups.abs(), SHORT, torch.abs_)),
        ("search_values", (groups, weights)),
        ("sums_of", (x[:50_000], x[:50_000] * 0.99)),
    ]


INTERPRETED = """
import numpy as np
from kernels.gpu import triton_measure, triton_search
from kernels.gpu.fusing import alike
from tests.kernels.test_triton import FUNCTIONS, cases, search
triton_search.GROUPS = 1 << 14
with np.errstate(all="ignore"):
    for name, arguments in cases():
        ours = getattr(triton_measure if name == "sums_of" else triton_search, name)(*arguments)
        theirs = getattr(FUNCTIONS.get(name, search), name)(*arguments)
        assert alike(ours, theirs, 1e-9 if name == "sums_of" else 0.0), name
"""
# What a GPU would run: no multiply-add that rounds once, no approximate quotient, and no number left out of registers.
COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from kernels.gpu import triton_search as s
fixed = {"length": 32, "block": s.GROUPS, "nmax": 15, "candidates": 21, "turns": 5, "squares": False, "absolute": False}
for kernel in (s._sum, s._qx, s._q3, s._qp, s._qkx2, s._values):
    names = kernel.arg_names
    sizes = {name: value for name, value in (fixed | {"first": -127.0}).items() if name in names}
    types = {name: "*fp32" if name.endswith("_ptr") else "i32" for name in names if name not in sizes}
    source = ASTSource(fn=kernel, signature=types | dict.fromkeys(sizes, "constexpr"), constexprs=sizes)
    options = dict(s.LAUNCH)
    ptx = triton.compile(source, target=GPUTarget("cuda", 80, 32), options=options).asm["ptx"]
    assert "fma.rn.f32" not in ptx and "div.full" not in ptx and ".local" not in ptx, names
"""


@triton_scripts.needs_triton
@pytest.mark.parametrize(("script", "interpreted"), [(INTERPRETED, "1"), (COMPILED, "0")])
def test_triton_does_what_torch_does(script: str, interpreted: str) -> None:
    """To the bit, in its interpreter; and compiled for a GPU, which need not be there."""
    triton_scripts.run(script, interpreted)


# ---------------------------------------------------------------- which of the two


@pytest.fixture
def on_any_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor as what Triton's kernels run on."""
    monkeypatch.setattr(fusing, "DEVICE", "cpu")


class Twins:
    """A torch function and a module with its twin, which note who was called with how many groups."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
        """factor: what the twin's result is multiplied by."""
        self.called: list[tuple[str, int]] = []

        def twice(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            self.called.append(("torch", len(x)))
            return 2 * x * weights

        def twin(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            self.called.append(("triton", len(x)))
            return 2 * factor * x * weights

        module = type(sys)("twins_of_a_test")
        module.twice = twin  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        self.call = fusing.fused(module.__name__)(twice)


@pytest.mark.usefixtures("on_any_device")
@pytest.mark.parametrize(("factor", "chosen"), [(1.0, "triton"), (1.0001, "torch")])
def test_a_twin_is_compared_once_and_called_where_it_is_equal(monkeypatch, factor, chosen):
    twins, x = Twins(monkeypatch, factor), torch.arange(2.0 * fusing.PROVED_ON)
    for _ in range(2):
        assert torch.equal(twins.call(x, x), 2 * x * x)
    proof = [("triton", fusing.PROVED_ON), ("torch", fusing.PROVED_ON)]
    assert twins.called == [*proof, *[(chosen, len(x))] * 2]


@pytest.mark.usefixtures("on_any_device")
def test_torch_computes_where_a_twin_cannot(monkeypatch):
    def broken(module: str) -> object:
        raise ImportError(module)

    monkeypatch.setattr(fusing.importlib, "import_module", broken)
    x = torch.arange(64.0).view(8, 8)
    assert torch.equal(search.sequential_sum(x), search.sequential_sum.__wrapped__(x))


def test_torch_computes_where_there_is_no_cuda(monkeypatch):
    twins, x = Twins(monkeypatch, 1.0), torch.ones(3)
    twins.call(x, x)
    assert twins.called == [("torch", 3)]
