"""Importance matrices: both forms of llama.cpp read, the GGUF form written, damage told from a model."""

from __future__ import annotations

import struct

import gguf
import numpy as np
import pytest

from core.errors import InvalidHeader, NotAnImatrix, SourceNotFound, TruncatedFile
from core.imatrix import FEW_TOKENS, Entry, ImportanceMatrix, read_imatrix, write_imatrix
from tests.core.small_models import small_model

RNG = np.random.default_rng(0)


def entry(matrices=1, columns=8, counts=None):
    sums = (RNG.random((matrices, columns)) * 100).astype(np.float32)
    return Entry(sums, np.array(counts or [50] * matrices, np.float32).reshape(matrices, 1))


@pytest.fixture
def matrix():
    entries = {"blk.0.ffn_up.weight": entry(), "blk.0.ffn_down_exps.weight": entry(3, 8, [50, 0, 7])}
    return ImportanceMatrix(entries, ("prose.txt", "code.txt"), 12, 512)


def legacy(path, entries, tail=b""):
    """The older form, from its description: int32 counts, names with their length, calls, float32 values."""
    data = struct.pack("<i", len(entries))
    for name, calls, values in entries:
        data += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, len(values))
        data += np.asarray(values, "<f4").tobytes()
    path.write_bytes(data + tail)
    return path


def test_what_is_written_is_read(tmp_path, matrix):
    write_imatrix(tmp_path / "a.gguf", matrix)
    found = read_imatrix(tmp_path / "a.gguf")
    assert (found.datasets, found.chunks, found.chunk_size) == (("prose.txt", "code.txt"), 12, 512)
    assert list(found.entries) == sorted(matrix.entries)
    for name, wanted in matrix.entries.items():
        assert np.array_equal(found.entries[name].sums, wanted.sums)
        assert np.array_equal(found.entries[name].counts, wanted.counts)


def test_an_independent_reader_finds_what_llama_cpp_expects(tmp_path, matrix):
    write_imatrix(tmp_path / "a.gguf", matrix)
    reader = gguf.GGUFReader(tmp_path / "a.gguf")
    assert reader.fields["general.type"].contents() == "imatrix"
    assert reader.fields["imatrix.datasets"].contents() == ["prose.txt", "code.txt"]
    assert (reader.fields["imatrix.chunk_count"].contents(), reader.fields["imatrix.chunk_size"].contents()) == (
        12,
        512,
    )
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    # ggml's order: row length first.
    assert tensors["blk.0.ffn_down_exps.weight.in_sum2"].shape.tolist() == [8, 3]
    assert tensors["blk.0.ffn_down_exps.weight.counts"].shape.tolist() == [1, 3]


def test_means_are_sums_over_counts_and_rare_experts_are_blended_with_all():
    many = entry(4, 8, [500, 0, 32, FEW_TOKENS])
    many.sums[1] = 0
    means = many.means(4)
    pooled = many.sums.sum(0) / many.counts.sum()
    assert means.dtype == np.float32
    assert np.array_equal(means[0], many.sums[0] / np.float32(500))
    assert np.allclose(means[1], pooled)
    assert np.allclose(means[2], 0.25 * many.sums[2] / 32 + 0.75 * pooled)
    assert np.array_equal(means[3], many.sums[3] / np.float32(FEW_TOKENS))


def test_a_single_matrix_is_never_blended_and_one_that_met_nothing_is_flat():
    few = entry(1, 8, [3])
    assert np.array_equal(few.means(1), few.sums / np.float32(3))
    assert (Entry(np.zeros((2, 4), np.float32), np.zeros((2, 1), np.float32)).means(2) == 1).all()


def test_the_older_form_is_read_with_and_without_its_tail(tmp_path):
    values = RNG.random(6).astype(np.float32)
    rows = [("blk.0.ffn_up.weight", 4, values), ("blk.1.ffn_up.weight", 0, values)]
    tail = struct.pack("<ii", 9, 5) + b"wiki2"
    whole = read_imatrix(legacy(tmp_path / "a.dat", rows, tail))
    assert (whole.chunks, whole.datasets) == (9, ("wiki2",))
    assert np.array_equal(whole.entries["blk.0.ffn_up.weight"].means(2), (values / np.float32(4)).reshape(2, 3))
    assert np.array_equal(whole.entries["blk.1.ffn_up.weight"].means(1)[0], values)
    bare = read_imatrix(legacy(tmp_path / "b.dat", rows))
    assert (bare.chunks, bare.datasets) == (0, ())


def test_parts_of_names_select_entries(matrix):
    assert list(matrix.selected(include=["ffn_up"]).entries) == ["blk.0.ffn_up.weight"]
    assert list(matrix.selected(exclude=["ffn_up"]).entries) == ["blk.0.ffn_down_exps.weight"]
    assert matrix.selected(["blk.0"], ["ffn"]).entries == {}
    assert matrix.selected().entries == matrix.entries


def test_every_truncation_of_the_older_form_is_refused(tmp_path):
    path = legacy(tmp_path / "a.dat", [("blk.0.ffn_up.weight", 4, [1.0, 2.0])])
    data = path.read_bytes()
    for end in range(1, len(data)):
        path.write_bytes(data[:end])
        with pytest.raises((TruncatedFile, NotAnImatrix)):
            read_imatrix(path)


@pytest.mark.parametrize(
    "bad", [b"", b"\xff\xff\xff\xff", b"plain text that is no list", struct.pack("<ii", 1, 1 << 30)]
)
def test_what_is_no_matrix_is_refused(tmp_path, bad):
    (tmp_path / "a.dat").write_bytes(bad)
    with pytest.raises((NotAnImatrix, TruncatedFile)):
        read_imatrix(tmp_path / "a.dat")


def test_a_model_is_no_matrix(tmp_path):
    with pytest.raises(NotAnImatrix, match="it is a model"):
        read_imatrix(small_model(tmp_path / "m.gguf"))


def test_a_damaged_gguf_is_refused(tmp_path, matrix):
    path = tmp_path / "a.gguf"
    write_imatrix(path, matrix)
    data = path.read_bytes()
    for end in (30, len(data) // 2, len(data) - 40):
        path.write_bytes(data[:end])
        with pytest.raises((TruncatedFile, InvalidHeader)):
            read_imatrix(path)


def test_sums_without_counts_are_refused(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "x")
    writer.add_array("imatrix.datasets", ["a"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 1)
    writer.add_tensor("w.in_sum2", np.ones((1, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(NotAnImatrix, match="do not belong together"):
        read_imatrix(tmp_path / "a.gguf")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_numbers_that_cannot_be_are_refused(tmp_path, matrix, bad):
    matrix.entries["blk.0.ffn_up.weight"].sums[0, 3] = bad
    write_imatrix(tmp_path / "a.gguf", matrix)
    with pytest.raises(NotAnImatrix, match="ffn_up"):
        read_imatrix(tmp_path / "a.gguf")


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(SourceNotFound):
        read_imatrix(tmp_path / "none.gguf")
