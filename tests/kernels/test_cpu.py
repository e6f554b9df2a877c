"""The compiled kernels: threads, odd input, NaN, errors beside ggml's, and where compiled code is kept."""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kernels.codecs import CODECS, Codec
from kernels.cpu import kquants, parallel
from kernels.cpu.measure import TASK, measure
from kernels.reference.measure import measure as specified
from tests import ggml_oracle

# The types of grids have tests of their own, with importance: tests/kernels/test_iquants.py.
GRIDS = ("iq1", "iq2", "iq3")
CPU_CODECS = {name: row for name, row in CODECS.items() if "cpu" in row.backends and row.module not in GRIDS}
every_codec = pytest.mark.parametrize("codec", CPU_CODECS.values(), ids=list(CPU_CODECS))
needs_ggml = pytest.mark.skipif(not ggml_oracle.available(), reason="ggml's functions are not installed")
CODED = [codec for codec in CPU_CODECS.values() if codec.format.name != "F32"]


# How well a constant comes back where the scale is not a half: that of NVFP4 has three bits of mantissa.
CONSTANT_TOLERANCES = {"NVFP4": 2**-4}


def functions(codec: Codec):
    module = importlib.import_module(f"kernels.cpu.{codec.module}")
    return getattr(module, codec.encode), getattr(module, codec.decode)


def normal(codec: Codec, n_blocks: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n_blocks, codec.format.elements), dtype=np.float32)
    return x * np.float32(0.02)


def student(codec: Codec, n_blocks: int) -> np.ndarray:
    x = np.random.default_rng(1).standard_t(3, (n_blocks, codec.format.elements)) * 0.02
    return x.astype(np.float32)


def coarse(codec: Codec, n_blocks: int) -> np.ndarray:
    """Values with so few bits that extremes of either sign are often equally large and sums often tie."""
    x = normal(codec, n_blocks)
    return np.round(x * 128) / np.float32(128)


@every_codec
def test_threads_do_not_change_a_byte(codec, monkeypatch):
    monkeypatch.setattr(parallel, "MIN_ELEMENTS_PER_TASK", 1 << 10)
    encode, decode = functions(codec)
    x = normal(codec, 8192 // codec.format.elements + 13)
    blocks = encode(x, threads=1)
    for threads in (0, 2, 5):
        np.testing.assert_array_equal(encode(x, threads=threads), blocks)
        np.testing.assert_array_equal(decode(blocks, threads=threads), decode(blocks, threads=1))


@every_codec
@pytest.mark.parametrize("n_blocks", [0, 1, 2, 3])
def test_any_number_of_blocks(codec, n_blocks):
    encode, decode = functions(codec)
    x = normal(codec, n_blocks)
    blocks = encode(x)
    assert blocks.shape == (n_blocks, codec.format.bytes)
    assert blocks.dtype == np.uint8
    assert decode(blocks).shape == x.shape
    np.testing.assert_array_equal(blocks, encode(normal(codec, 4))[:n_blocks])


@every_codec
def test_a_block_with_nan_or_infinity_leaves_its_neighbours_alone(codec):
    encode, decode = functions(codec)
    clean = normal(codec, 9)
    expected = encode(clean)
    for value in (np.nan, -np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-40):
        for fill_all in (True, False):
            x = clean.copy()
            x[4, slice(None) if fill_all else 0] = value
            blocks = encode(x)
            decode(blocks)
            others = np.arange(9) != 4
            np.testing.assert_array_equal(blocks[others], expected[others])


@every_codec
@pytest.mark.parametrize("value", [0.0, 0.5, -0.5])
def test_constant_blocks_come_back(codec, value):
    encode, decode = functions(codec)
    x = np.full((3, codec.format.elements), value, np.float32)
    np.testing.assert_allclose(decode(encode(x)), x, rtol=CONSTANT_TOLERANCES.get(codec.format.name, 2e-3))


@every_codec
def test_read_only_strided_and_misaligned_input(codec):
    encode, decode = functions(codec)
    x = normal(codec, 6)
    blocks = encode(x)
    read_only = x.copy()
    read_only.flags.writeable = False
    shifted = np.frombuffer(b"\0" + x.tobytes(), dtype=np.uint8)[1:].view(np.float32).reshape(x.shape)
    assert not shifted.flags.aligned
    for same in (read_only, np.asfortranarray(x), shifted):
        np.testing.assert_array_equal(encode(same), blocks)
    stored = np.frombuffer(b"\0" + blocks.tobytes(), dtype=np.uint8)[1:].reshape(blocks.shape)
    np.testing.assert_array_equal(decode(stored), decode(blocks))


def test_kinds_of_input_are_not_compiled_apart():
    x = normal(CODECS["Q4_K"], 2)
    kquants.encode_q4_k(x)
    x.flags.writeable = False
    kquants.encode_q4_k(x)
    assert len(kquants._encode_q4_k.signatures) == 1


@every_codec
def test_other_shapes_are_refused(codec):
    encode, decode = functions(codec)
    with pytest.raises(ValueError, match="elements expected"):
        encode(np.zeros((2, codec.format.elements + 1), np.float32))
    with pytest.raises(ValueError, match="bytes expected"):
        decode(np.zeros(codec.format.bytes, np.uint8))


@needs_ggml
@pytest.mark.parametrize("codec", CODED, ids=lambda codec: codec.format.name)
@pytest.mark.parametrize("values", [normal, student, coarse])
def test_encoding_equals_ggml(codec, values):
    encode, _ = functions(codec)
    x = values(codec, (1 << 17) // codec.format.elements)
    np.testing.assert_array_equal(encode(x), ggml_oracle.encode(codec.format.name, x))


@needs_ggml
@every_codec
def test_decoding_equals_ggml_on_any_bytes(codec):
    _, decode = functions(codec)
    blocks = np.random.default_rng(2).integers(0, 256, (500, codec.format.bytes), dtype=np.uint8)
    np.testing.assert_array_equal(decode(blocks), ggml_oracle.decode(codec.format.name, blocks))


def test_error_sums_equal_the_specification():
    rng = np.random.default_rng(3)
    for n in (1, 7, 1000, TASK + 5):
        x = rng.standard_normal(n, dtype=np.float32)
        y = x + rng.standard_normal(n, dtype=np.float32) * np.float32(1e-3)
        ours, expected = measure(x, y), specified(x, y)
        assert (ours.n, ours.max_error) == (expected.n, expected.max_error)
        for name in ("squared_error", "squared_x", "squared_y", "product_xy"):
            assert getattr(ours, name) == pytest.approx(getattr(expected, name), rel=1e-12)


def test_error_sums_do_not_depend_on_threads():
    x = np.random.default_rng(4).standard_normal((7, TASK // 3), dtype=np.float32)
    assert measure(x, x + 1, threads=1) == measure(x, x + 1, threads=3)


def test_error_sums_of_nothing_and_of_what_does_not_fit():
    nothing = np.zeros(0, np.float32)
    assert measure(nothing, nothing).n == 0
    with pytest.raises(ValueError, match="one shape"):
        measure(np.zeros(3, np.float32), np.zeros(4, np.float32))


def test_error_sums_show_what_is_not_finite():
    x, y = np.zeros(100, np.float32), np.zeros(100, np.float32)
    y[50] = np.inf
    assert measure(x, y).max_error == np.inf
    y[50] = np.nan
    assert np.isnan(measure(x, y).squared_error)
    assert np.isnan(measure(x, y).max_error)


USE_ONE = "import numpy; from kernels.cpu import floats; floats.decode_bf16(numpy.zeros((1, 2), numpy.uint8))"


def compile_one(cache_home: Path, first: str = "", **variables: str) -> str:
    """Compile one function in a new process whose user cache is `cache_home`; returns where numba keeps code."""
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    environment |= {"XDG_CACHE_HOME": str(cache_home), "LOCALAPPDATA": str(cache_home), "HOME": str(cache_home)}
    code = f"{first}\n{USE_ONE}\nimport numba; print(numba.config.CACHE_DIR)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | variables,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def compiled_files(folder: Path) -> list[Path]:
    return list(folder.rglob("*.nbc"))


@pytest.mark.parametrize("first", ["", "import numba"])
def test_compiled_code_is_kept_in_the_users_cache(tmp_path, first):
    folder = Path(compile_one(tmp_path, first))
    assert tmp_path in folder.parents
    files = compiled_files(folder)
    assert len(files) == 1
    written = files[0].stat().st_mtime_ns
    compile_one(tmp_path, first)
    assert [file.stat().st_mtime_ns for file in compiled_files(folder)] == [written]


def test_a_cache_folder_chosen_by_the_user_is_respected(tmp_path):
    chosen = tmp_path / "chosen"
    assert compile_one(tmp_path / "home", NUMBA_CACHE_DIR=str(chosen)) == str(chosen)
    assert len(compiled_files(chosen)) == 1
    assert not (tmp_path / "home").exists()


def test_a_cache_that_cannot_be_written_does_not_stop_the_program(tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder is wanted")
    folder = Path(compile_one(blocked))
    assert blocked not in folder.parents
    assert not folder.exists()


OLD_PROCESSOR = """
import sys, numpy
from kernels.cpu import floats, half, kquants
assert not half.processor_converts()
x = numpy.load(sys.argv[1])
numpy.savez(sys.argv[2], f16=floats.encode_f16(x.reshape(-1, 1)), q4_k=kquants.encode_q4_k(x))
"""


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="names a processor of that family")
def test_a_processor_without_half_conversions_and_wide_vectors(tmp_path):
    x = normal(CODECS["Q4_K"], 64)
    np.save(tmp_path / "x.npy", x)
    old = {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run(
        [sys.executable, "-c", OLD_PROCESSOR, str(tmp_path / "x.npy"), str(tmp_path / "y.npz")],
        env=os.environ | old,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    encoded = np.load(tmp_path / "y.npz")
    np.testing.assert_array_equal(encoded["f16"], x.reshape(-1, 1).astype(np.float16).view(np.uint8))
    np.testing.assert_array_equal(encoded["q4_k"], kquants.encode_q4_k(x))
