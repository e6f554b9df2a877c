"""The grids of the IQ types: equal to gguf's and to what their script writes; neighbours are those of ggml's rule."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

from kernels import grids

SCRIPT = Path(__file__).parents[2] / "packaging" / "grids.py"


@pytest.mark.parametrize("name", grids.FACTS)
def test_grids_are_those_of_gguf(name):
    table = getattr(gguf.quants, name)
    table.init_grid()
    assert np.array_equal(grids.values(name), table.grid.reshape(table.grid_shape))


def test_signs_are_those_of_gguf():
    assert grids.even_signs().tobytes() == gguf.quants.IQ2_XXS.ksigns


def test_the_script_writes_the_file_again(tmp_path):
    target = tmp_path / "iq.npz"
    subprocess.run([sys.executable, str(SCRIPT), str(target)], check=True, timeout=240, capture_output=True)
    assert target.read_bytes() == grids.PATH.read_bytes()


@pytest.mark.parametrize("name", grids.FACTS)
def test_points_are_found_at_their_places(name):
    codes = grids.codes(name)
    places = grids.neighbourhood(name).places[grids.pack(codes, grids.FACTS[name].bits)]
    assert np.array_equal(places, np.arange(len(codes)))


@pytest.mark.parametrize("name", grids.FACTS)
def test_neighbours_are_all_within_the_smallest_distances_in_order(name):
    facts, table, codes = grids.FACTS[name], grids.neighbourhood(name), grids.codes(name).astype(int)
    vectors = np.random.default_rng(6).integers(0, len(facts.levels), (300, facts.width))
    places = table.places[grids.pack(vectors, facts.bits)]
    assert (places < 0).any()
    for vector, place in zip(vectors, places, strict=True):
        distances = np.square(codes - vector).sum(axis=1)
        if place >= 0:
            assert distances[place] == 0
            continue
        limit = np.unique(distances)[facts.nearest - 1]
        expected = [i for i in np.argsort(distances, kind="stable") if distances[i] <= limit]
        assert table.neighbours[table.starts[-1 - place] : table.starts[-place]].tolist() == expected
