"""Outputs in parts: names, keys and limits as llama.cpp's gguf-split has them, and the same model as in one file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import gguf
import numpy as np
import pytest

from core.engine import run
from core.errors import Cancelled, OutputIsSource
from core.formats.gguf_layout import KeyValue
from core.formats.gguf_writer import TensorSlot
from core.jobs import CompareJob, PlanJob, QuantizeJob, QuantizeOptions
from core.parts import by_size, divided, path_of
from core.progress import Progress
from tests.core.small_models import metadata, small_model

SLOTS = [TensorSlot(f"t{n}", (n + 1, 256), "F32") for n in range(20)]


def quantized(source, output, **options):
    job = QuantizeJob(source=str(source), output=str(output), options=QuantizeOptions(target="Q8_0", **options))
    return run(job)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("parts") / "small.gguf")


@pytest.mark.parametrize("most", [20_000, 25_000, 60_000, 10**9])
def test_no_part_is_larger_than_asked_for_and_order_is_kept(most):
    keys = tuple(metadata())
    numbers = by_size(SLOTS, keys, most)
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(numbers[-1] + 1))
    parts = divided(SLOTS, keys, numbers)
    for part in parts:
        assert part.layout.bytes <= most or len(part.layout.tensors) == 1
    assert [slot for part in parts for slot in part.layout.tensors] == SLOTS


def test_a_tensor_larger_than_a_part_has_one_for_itself():
    assert by_size(SLOTS[-3:], (), 1000) == [0, 1, 2]


def test_alignment_is_that_of_every_part():
    keys = (KeyValue("general.alignment", "UINT32", 64),)
    parts = divided(SLOTS, keys, by_size(SLOTS, keys, 60_000))
    assert {part.layout.alignment for part in parts} == {64}


def test_names_of_parts():
    assert path_of(Path("a/b.Q8_0.gguf"), 0, 1) == Path("a/b.Q8_0.gguf")
    assert path_of(Path("a/b.Q8_0.gguf"), 1, 12) == Path("a/b.Q8_0-00002-of-00012.gguf")


def test_parts_hold_what_one_file_holds(small, tmp_path):
    whole = quantized(small, tmp_path / "whole.gguf")
    planned = run(PlanJob(source=str(small), options=QuantizeOptions(target="Q8_0", split_max_bytes=40_000)))
    result = quantized(small, tmp_path / "o.gguf", split_max_bytes=40_000)
    files = sorted(tmp_path.glob("o*.gguf"))
    assert [file.name for file in files] == [f"o-{n:05}-of-{len(files):05}.gguf" for n in range(1, len(files) + 1)]
    assert len(files) > 2
    assert all(file.stat().st_size <= 40_000 for file in files)
    assert result.output == str(files[0])
    assert sum(file.stat().st_size for file in files) == result.bytes == planned.bytes
    assert result.sha256 == hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    assert result.total == whole.total
    same = run(CompareJob(source=str(tmp_path / "whole.gguf"), other=str(files[0])))
    assert (same.missing, same.total.rmse) == ((), 0)


def test_every_part_says_which_it_is(small, tmp_path):
    quantized(small, tmp_path / "o.gguf", split_max_bytes=40_000)
    files = sorted(tmp_path.glob("o*.gguf"))
    total = len(gguf.GGUFReader(small).tensors)
    for number, file in enumerate(files):
        fields = gguf.GGUFReader(file).fields
        said = [fields[f"split.{key}"].contents() for key in ("no", "count", "tensors.count")]
        assert said == [number, len(files), total]
        assert ("tokenizer.ggml.tokens" in fields) == (number == 0)


def test_the_parts_of_a_source_are_kept(small, tmp_path):
    quantized(small, tmp_path / "s.gguf", split_max_bytes=40_000)
    parts = sorted(tmp_path.glob("s-*.gguf"))
    quantized(parts[0], tmp_path / "o.gguf", keep_split=True, allow_requantize=True)
    kept = sorted(tmp_path.glob("o-*.gguf"))
    assert [[t.name for t in gguf.GGUFReader(file).tensors] for file in kept] == [
        [t.name for t in gguf.GGUFReader(file).tensors] for file in parts
    ]
    quantized(parts[0], tmp_path / "one.gguf")
    assert "split.count" not in gguf.GGUFReader(tmp_path / "one.gguf").fields
    quantized(small, tmp_path / "single.gguf", keep_split=True)
    assert (tmp_path / "single.gguf").is_file()


def test_no_part_of_the_source_is_overwritten(small, tmp_path):
    quantized(small, tmp_path / "s.gguf", split_max_bytes=40_000)
    parts = sorted(tmp_path.glob("s-*.gguf"))
    before = [part.read_bytes() for part in parts]
    with pytest.raises(OutputIsSource):
        quantized(parts[0], tmp_path / "s.gguf", keep_split=True)
    assert [part.read_bytes() for part in parts] == before


def test_cancelling_leaves_no_part(small, tmp_path):
    reports: list[int] = []
    job = QuantizeJob(
        source=str(small),
        output=str(tmp_path / "o.gguf"),
        options=QuantizeOptions(target="Q8_0", split_max_bytes=40_000),
    )
    run(job, Progress(cancelled=lambda: bool(reports.append(1))))
    for file in tmp_path.iterdir():
        file.unlink()
    for stop_at in np.linspace(0, len(reports) - 1, 6).astype(int):
        calls = iter(range(len(reports)))
        with pytest.raises(Cancelled):
            run(job, Progress(cancelled=lambda c=calls, s=stop_at: next(c) >= s))
        assert list(tmp_path.iterdir()) == []
