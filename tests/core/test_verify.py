"""Verification finds every kind of difference, says which, and its hash is that of the file."""

from __future__ import annotations

import dataclasses
import hashlib

import gguf
import pytest

from core.engine import run
from core.errors import InvalidHeader, NotAModel, TruncatedFile, VerificationFailed
from core.formats.gguf_reader import read_header
from core.jobs import VerifyJob
from core.verify import Expected, read_independently, verify_written
from tests.core.small_models import small_model


@pytest.fixture
def small(tmp_path):
    return small_model(tmp_path / "small.gguf", "Q8_0")


def expected_of(path):
    return [Expected(e.name, e.shape, e.type, e.bytes) for e in read_header(path).tensors]


def check(path, expected=None, n_bytes=None):
    return verify_written(path, expected_of(path) if expected is None else expected, n_bytes or path.stat().st_size)


def test_a_file_in_order(small):
    result = run(VerifyJob(path=str(small)))
    assert result.sha256 == hashlib.sha256(small.read_bytes()).hexdigest()
    assert result.tensors == len(read_header(small).tensors)
    assert result.types["Q8_0"] == 16
    assert len(check(small)) == result.tensors


def test_the_lean_reader_finds_what_the_whole_one_finds(sample):
    lean = read_independently(sample)
    whole = gguf.GGUFReader(sample).tensors
    assert [(t.name, t.type, t.offset) for t in lean] == [(t.name, t.tensor_type.name, t.data_offset) for t in whole]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "other"}, "the name of tensor other"),
        ({"shape": (1, 2)}, "the shape"),
        ({"type": "Q4_0"}, "the type"),
        ({"bytes": 1}, "the bytes"),
    ],
)
def test_every_difference_is_found(small, change, words):
    expected = expected_of(small)
    expected[3] = dataclasses.replace(expected[3], **change)
    with pytest.raises(VerificationFailed, match=words):
        check(small, expected)


def test_missing_tensor_and_wrong_size(small):
    with pytest.raises(VerificationFailed, match="instead of"):
        check(small, expected_of(small)[:-1])
    with pytest.raises(VerificationFailed, match="bytes instead of"):
        check(small, n_bytes=5)


def test_damage_is_told_from_what_is_no_model(small, tmp_path):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(small.read_bytes()[:-64])
    with pytest.raises(TruncatedFile):
        run(VerifyJob(path=str(cut)))
    (tmp_path / "text.gguf").write_text("hello, this is no model at all")
    with pytest.raises(NotAModel):
        run(VerifyJob(path=str(tmp_path / "text.gguf")))
    with pytest.raises(NotAModel, match=r"not a model"):
        run(VerifyJob(path=str(tmp_path)))
    damaged = bytearray(small.read_bytes())
    damaged[8:16] = (1 << 60).to_bytes(8, "little")
    (tmp_path / "many.gguf").write_bytes(damaged)
    with pytest.raises(InvalidHeader):
        run(VerifyJob(path=str(tmp_path / "many.gguf")))
