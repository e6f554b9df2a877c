"""Every format on every backend against ggml: decoding to the bit, encoding to the byte and in the error."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from kernels import dispatch
from kernels.codecs import CODECS
from tests import ggml_oracle
from tests.kernels import samples

# The types of grids have tests of their own, with importance and on fewer weights: tests/kernels/test_iquants.py.
ROWS = tuple(row for row in CODECS.values() if row.module not in ("iq1", "iq2", "iq3"))
NAMES = tuple(row.format.name for row in ROWS)
BACKENDS = tuple(dispatch.BACKENDS)
# Every codec on every backend that has it.
TWINS = tuple((row.format.name, backend) for row in ROWS for backend in row.backends)
FAST_TWINS = tuple(twin for twin in TWINS if twin[1] != "reference")
every_twin = pytest.mark.parametrize(("name", "backend"), TWINS)
ROW = 8192
# As many elements are enough where bytes are compared; errors are compared over all of a distribution.
ENOUGH = 1 << 18
# The formats that the gguf package decodes; it knows Q1_0 by name only, and Q2_0 not at all.
READ_BY_GGUF = {name for name in NAMES if name not in ("Q1_0", "Q2_0")}

# The share of blocks on which a backend must write the same bytes as ggml: all but what fused multiply-add may explain,
# where a C compiler chose it.
EXACT_AGREEMENT = 0.999


def differences(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """The indices of blocks that differ."""
    return np.flatnonzero((ours != theirs).any(axis=1))


def first_difference(ours: np.ndarray, theirs: np.ndarray) -> str:
    """The first differing block of both, in hex, for the message of a failure."""
    found = differences(ours, theirs)
    if not len(found):
        return "no difference"
    at = found[0]
    pair = f"ours   {ours[at].tobytes().hex()}\ntheirs {theirs[at].tobytes().hex()}"
    return f"{len(found)} of {len(ours)} differ, first block {at}:\n{pair}"


def same_floats(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal to the bit, any NaN equal to any other."""
    nan = np.isnan(a)
    return bool((nan == np.isnan(b)).all() and np.array_equal(a.view(np.uint32)[~nan], b.view(np.uint32)[~nan]))


def random_blocks(name: str) -> np.ndarray:
    """Blocks of random bytes: every code, every scale, infinities and NaN among them."""
    return np.random.default_rng(11).integers(0, 256, (3000, CODECS[name].format.bytes), dtype=np.uint8)


def decoded(name: str, block: np.ndarray) -> np.ndarray:
    """The values of one block, by the specification."""
    return dispatch.decode(name, block[None], CODECS[name].format.elements, backend="reference")


def read_by_gguf(name: str, blocks: np.ndarray) -> np.ndarray:
    """The blocks as the gguf package decodes them."""
    with np.errstate(all="ignore"):
        decoded = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[name])
    return np.ascontiguousarray(decoded, dtype=np.float32).reshape(len(blocks), -1)


@every_twin
def test_decodes_random_bytes_as_ggml_and_gguf_do(name, backend):
    blocks = random_blocks(name)
    ours = dispatch.decode(name, blocks, CODECS[name].format.elements, backend=backend)
    assert same_floats(ours, ggml_oracle.decode(name, blocks))
    if name in READ_BY_GGUF:
        assert same_floats(ours, read_by_gguf(name, blocks))


@pytest.mark.parametrize("distribution", samples.DISTRIBUTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_specification_writes_the_bytes_of_ggml(name, distribution):
    x = samples.blocks_of(name, samples.weights(distribution)[:ENOUGH])
    ours = dispatch.encode(name, x, backend="reference")
    theirs, _ = samples.judged(name, distribution)
    theirs = theirs[: len(ours)]
    equal = 1 - len(differences(ours, theirs)) / len(ours)
    assert equal >= EXACT_AGREEMENT, first_difference(ours, theirs)


@pytest.mark.parametrize("distribution", samples.DISTRIBUTIONS)
@pytest.mark.parametrize(("name", "backend"), FAST_TWINS)
def test_fast_backends_write_values_and_errors_of_ggml(name, backend, distribution):
    x = samples.blocks_of(name, samples.weights(distribution))
    ours, error = dispatch.encode_measured(name, x, backend=backend)
    theirs, their_error = samples.judged(name, distribution)
    # Bytes may differ where a stored scale is zero, because no code of such a group has any effect.
    other = [i for i in differences(ours, theirs) if not (decoded(name, ours[i]) == decoded(name, theirs[i])).all()]
    assert 1 - len(other) / len(ours) >= EXACT_AGREEMENT, first_difference(ours[other], theirs[other])
    assert error.n == x.size
    assert error.squared_error <= 1.001 * their_error.squared_error


@pytest.mark.parametrize("name", NAMES)
def test_rows_equal_what_llama_quantize_writes(name):
    x = samples.weights("normal")[: 4 * ROW].reshape(4, ROW)
    ours = dispatch.encode(name, x, backend="reference")
    theirs = ggml_oracle.quantize_chunk(name, x)
    assert np.array_equal(ours, theirs), first_difference(ours, theirs)


@every_twin
def test_decoded_weights_quantize_to_themselves_or_better(name, backend):
    """Encoding what was decoded may find another scale but loses next to nothing."""
    x = samples.blocks_of(name, samples.weights("normal"))[:2048]
    once, first = dispatch.encode_measured(name, x, backend=backend)
    decoded = dispatch.decode(name, once, x.shape[1], backend=backend)
    _, again = dispatch.encode_measured(name, decoded, backend=backend)
    assert again.squared_error <= 0.2 * first.squared_error
