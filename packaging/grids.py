"""Writes resources/grids/iq.npz, the grids of the IQ types, from the tables that the gguf package publishes.

Usage: `python packaging/grids.py [FILE]`. Every grid becomes one uint16 array of packed vectors, named as its format
(kernels.grids says how they are packed). Running it again writes the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from gguf import quants

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kernels import grids  # noqa: E402


def packed(name: str) -> np.ndarray:
    """The grid of a format in gguf's table, packed into uint16 (points,)."""
    table = getattr(quants, name)
    table.init_grid()
    codes = np.searchsorted(np.array(table.grid_map), table.grid.reshape(table.grid_shape))
    return grids.pack(codes, grids.FACTS[name].bits).astype(np.uint16)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else grids.PATH
    np.savez_compressed(target, **{name: packed(name) for name in grids.FACTS})
    print(f"{target}: {', '.join(grids.FACTS)}")
