"""The GGUF writer: byte-identical copies, exact sizes, every value type, and misuse."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import gguf
import numpy as np
import pytest

from core.formats.gguf_layout import VALUE_TYPES, KeyValue, tensor_bytes
from core.formats.gguf_reader import read_header
from core.formats.gguf_writer import GGUFWriter, TensorSlot, layout
from core.sources import open_source
from kernels.blocks import FORMATS

EXTREMES = {
    "UINT8": 255,
    "INT8": -128,
    "UINT16": 65535,
    "INT16": -32768,
    "UINT32": 4294967295,
    "INT32": -2147483648,
    "FLOAT32": 0.5,
    "BOOL": True,
    "STRING": "ü 🚀\n",
    "UINT64": 2**64 - 1,
    "INT64": -(2**63),
    "FLOAT64": 1e300,
}


def write(path: Path, metadata: list[KeyValue], tensors: list[tuple[TensorSlot, bytes]]) -> str:
    plan = layout(metadata, [slot for slot, _ in tensors])
    with path.open("wb") as file:
        writer = GGUFWriter(file, metadata, plan)
        for slot, data in tensors:
            writer.append(slot.name, data)
        writer.finish()
    assert path.stat().st_size == plan.bytes
    return writer.hexdigest()


def test_copy_of_the_sample_is_the_sample(sample: Path) -> None:
    out = io.BytesIO()
    with open_source(sample) as source:
        slots = [TensorSlot(tensor.name, tensor.shape, tensor.type) for tensor in source.tensors]
        plan = layout(source.metadata, slots)
        assert plan.bytes == sample.stat().st_size
        writer = GGUFWriter(out, source.metadata, plan)
        for tensor in source.tensors:
            for first in range(0, tensor.rows, 1000):
                writer.append(tensor.name, source.raw(tensor, first, min(1000, tensor.rows - first)))
        writer.finish()
    original = sample.read_bytes()
    assert out.getvalue() == original
    assert writer.hexdigest() == hashlib.sha256(original).hexdigest()


def test_every_value_type_survives(tmp_path: Path) -> None:
    path = tmp_path / "values.gguf"
    metadata = [KeyValue("general.architecture", "STRING", "llama")]
    metadata += [KeyValue(f"scalar.{name}", name, value) for name, value in EXTREMES.items()]
    metadata += [KeyValue(f"array.{name}", f"ARRAY[{name}]", [value, value]) for name, value in EXTREMES.items()]
    write(path, metadata, [])
    theirs = {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}
    for entry, read in zip(metadata, read_header(path).metadata, strict=True):
        assert (read.key, read.type) == (entry.key, entry.type)
        assert (list(read.value) if entry.type.startswith("ARRAY") else read.value) == entry.value
        assert theirs[entry.key] == entry.value
    assert set(EXTREMES) == {row.name for row in VALUE_TYPES} - {"ARRAY"}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_placed_where_gguf_py_finds_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "formats.gguf"
    metadata = [KeyValue("general.architecture", "STRING", "llama")]
    shape = (3, FORMATS[name].elements * 3)
    slots = [TensorSlot(f"{number}.weight", shape, name) for number in range(3)]
    chance = np.random.default_rng(1)
    payloads = [chance.integers(0, 255, slot.bytes, np.uint8).tobytes() for slot in slots]
    digest = write(path, metadata, list(zip(slots, payloads, strict=True)))
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    for tensor, payload in zip(gguf.GGUFReader(path).tensors, payloads, strict=True):
        assert tensor.tensor_type.name == name
        assert tuple(int(size) for size in tensor.shape)[::-1] == shape
        assert tensor.data.tobytes() == payload


def test_alignment_key_is_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "aligned.gguf"
    metadata = [KeyValue("general.architecture", "STRING", "x"), KeyValue("general.alignment", "UINT32", 4096)]
    slots = [TensorSlot("a", (3,), "F32"), TensorSlot("b", (5,), "F32")]
    write(path, metadata, [(slots[0], b"a" * 12), (slots[1], b"b" * 20)])
    header = read_header(path)
    assert [entry.offset % 4096 for entry in header.tensors] == [0, 0]
    assert path.read_bytes()[header.tensors[1].offset :][:20] == b"b" * 20


def test_chunks_of_any_size_give_the_same_file(tmp_path: Path) -> None:
    metadata = [KeyValue("general.architecture", "STRING", "x")]
    slot = TensorSlot("a", (7, 32), "Q8_0")
    data = bytes(range(238))
    plan = layout(metadata, [slot])
    files = []
    for step in (1, 34, 100, 238):
        out = io.BytesIO()
        writer = GGUFWriter(out, metadata, plan)
        for first in range(0, 238, step):
            writer.append("a", data[first : first + step])
        writer.finish()
        files.append(out.getvalue())
    assert len(set(files)) == 1


def test_misuse_is_refused() -> None:
    metadata = [KeyValue("general.architecture", "STRING", "x")]
    slots = [TensorSlot("a", (4,), "F32"), TensorSlot("b", (4,), "F32")]
    writer = GGUFWriter(io.BytesIO(), metadata, layout(metadata, slots))
    with pytest.raises(ValueError, match="where a lacks 16"):
        writer.append("b", bytes(16))
    with pytest.raises(ValueError, match="got 17 bytes"):
        writer.append("a", bytes(17))
    with pytest.raises(ValueError, match="tensor a is not complete"):
        writer.finish()
    writer.append("a", bytes(16))
    writer.append("b", bytes(16))
    writer.finish()
    with pytest.raises(ValueError, match="all tensors are complete"):
        writer.append("b", bytes(1))


@pytest.mark.parametrize(("kind", "value"), [("UINT8", 256), ("UINT32", -1), ("INT32", 2**31), ("FLOAT32", "x")])
def test_values_that_do_not_fit_are_refused(kind: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"metadata some\.key does not fit"):
        layout([KeyValue("some.key", kind, value)], [])


def test_rows_that_blocks_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        layout([], [TensorSlot("a", (2, 100), "Q4_K")])
    assert tensor_bytes("Q4_K", (2, 3, 512)) == 2 * 3 * 2 * 144
