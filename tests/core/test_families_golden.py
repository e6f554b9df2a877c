"""Every family against llama.cpp's own converter: keys, names, shapes, types and values of tiny models, as F16."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest

from core.families import FAMILIES
from core.formats.gguf_layout import KeyValue
from core.formats.gguf_writer import GGUFWriter, TensorSlot, layout
from core.sources import Source, open_source
from kernels import dispatch
from tests.core import hf_families

GOLDEN = json.loads(Path(__file__).parents[1].joinpath("golden", "families.json").read_text(encoding="utf-8"))
# Keys that are written although llama.cpp's converter leaves them to llama.cpp's defaults, with those defaults.
SAID_ALOUD = {"tokenizer.ggml.add_space_prefix": True}


def test_golden_file_is_the_one_meant() -> None:
    assert (GOLDEN["magic"], GOLDEN["version"]) == ("bitwright-golden-families", 1)
    assert "make_families.py" in GOLDEN["command"]
    assert set(GOLDEN["models"]) == set(hf_families.MODELS)


def test_every_family_has_a_golden_model() -> None:
    proven = {model.architecture for model in hf_families.MODELS.values()}
    for family in FAMILIES:
        assert proven & set(family.architectures), family.label


def written(source: Source, path: Path) -> gguf.GGUFReader:
    """The source as an F16 file, rows one piece after another, read by gguf-py."""
    slots = [TensorSlot(t.name, t.shape, "F32" if t.type == "F32" else "F16") for t in source.tensors]
    metadata = [*source.metadata, KeyValue("general.file_type", "UINT32", 1)]
    with path.open("wb") as file:
        writer = GGUFWriter(file, metadata, layout(metadata, slots))
        for tensor, slot in zip(source.tensors, slots, strict=True):
            for first in range(0, tensor.rows, 50):
                count = min(50, tensor.rows - first)
                rows = source.read(tensor, first, count)
                writer.append(tensor.name, dispatch.encode(slot.type, rows, backend="reference"))
        writer.finish()
    return gguf.GGUFReader(path)


def shortened(kind: str, content: Any) -> list[Any]:
    """As tests/golden/make_families.py stores a value."""
    if isinstance(content, list) and len(content) > 16:
        return [kind, {"length": len(content), "hash": hf_families.digest(json.dumps(content).encode())}]
    return [kind, content]


@pytest.fixture(scope="module", params=hf_families.MODELS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, gguf.GGUFReader]:
    """(what the converter made, our file) of one tiny model."""
    folder = tmp_path_factory.mktemp("family")
    with open_source(hf_families.build(request.param, folder / request.param)) as source:
        return GOLDEN["models"][request.param], written(source, folder / "out.gguf")


def test_keys_agree(pair: tuple[Any, gguf.GGUFReader]) -> None:
    golden, reader = pair
    ours = {
        key: shortened(
            field.types[0].name if len(field.types) == 1 else f"ARRAY[{field.types[-1].name}]", field.contents()
        )
        for key, field in reader.fields.items()
        if hf_families.is_compared(key)
    }
    extra = {key: value[1] for key, value in ours.items() if key not in golden["keys"]}
    assert extra == {key: SAID_ALOUD[key] for key in extra if key in SAID_ALOUD}
    assert {key: ours.get(key) for key in golden["keys"]} == golden["keys"]


def test_tensors_agree(pair: tuple[Any, gguf.GGUFReader]) -> None:
    golden, reader = pair
    ours = {
        tensor.name: [
            tensor.tensor_type.name,
            [int(size) for size in reversed(tensor.shape)],
            hf_families.digest(tensor.data.tobytes()),
        ]
        for tensor in reader.tensors
    }
    assert ours == golden["tensors"]
