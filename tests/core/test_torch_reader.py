"""PyTorch checkpoints: the same model as from safetensors, and nothing of a file is ever run."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from core import engine, errors
from core.formats.torch_reader import read_torch_header
from core.jobs import ScanJob, ScanResult
from core.sources import open_source
from tests.core import hf_families


def torch_folder(name: str, folder: Path, shards: int = 1) -> Path:
    """A tiny model whose weights are in torch's own files."""
    hf_families.build(name, folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if shards == 1:
        torch.save(weights, folder / "pytorch_model.bin")
        return folder
    weight_map = {}
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05}-of-{shards:05}.bin"
        part = dict(list(weights.items())[number::shards])
        torch.save(part, folder / file)
        weight_map.update(dict.fromkeys(part, file))
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


@pytest.mark.parametrize(("name", "shards"), [("qwen3moe", 1), ("gpt2", 1), ("llama-biases-llama3", 3)])
def test_the_same_model_as_from_safetensors(tmp_path: Path, name: str, shards: int) -> None:
    with (
        open_source(hf_families.build(name, tmp_path / "a")) as expected,
        open_source(torch_folder(name, tmp_path / "b", shards)) as found,
    ):
        assert found.tensors == expected.tensors
        for tensor in expected.tensors:
            np.testing.assert_array_equal(found.raw(tensor), expected.raw(tensor))


def test_shards_without_an_index_are_counted(tmp_path: Path) -> None:
    folder = torch_folder("qwen2", tmp_path, shards=2)
    (folder / "pytorch_model.bin.index.json").unlink()
    with open_source(folder) as source:
        assert len(source.files) == 2
    (folder / "pytorch_model-00001-of-00002.bin").unlink()
    with pytest.raises(errors.MissingParts):
        open_source(folder)


def test_a_scan_finds_such_folders(tmp_path: Path) -> None:
    single, sharded = torch_folder("gpt2", tmp_path / "a"), torch_folder("qwen2", tmp_path / "b", shards=2)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "config.json").write_text("{}")
    (tmp_path / "c" / "training_args.bin").write_bytes(b"")
    result = engine.run(ScanJob(paths=(str(tmp_path),)))
    assert isinstance(result, ScanResult)
    assert [model.path for model in result.models] == [str(single), str(sharded)]
    assert result.problems == ()


def test_parameters_views_and_nested_dictionaries(tmp_path: Path) -> None:
    whole = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    weights = {"a": torch.nn.Parameter(whole), "b": whole[2:], "c": torch.zeros(0, 3), "step": 5}
    torch.save({"state_dict": weights}, tmp_path / "w.bin")
    header = read_torch_header(tmp_path / "w.bin")
    found = {entry.name: entry for entry in header.tensors}
    assert [*found] == ["a", "b", "c"]
    data = (tmp_path / "w.bin").read_bytes()
    for name in ("a", "b"):
        entry = found[name]
        values = np.frombuffer(data, np.float32, entry.bytes // 4, entry.offset).reshape(entry.shape)
        np.testing.assert_array_equal(values, weights[name].detach().numpy())


class Command:
    """An object whose pickle runs a command when it is loaded in the usual way."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    with zipfile.ZipFile(tmp_path / "w.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": Command(mark)}))
    with pytest.raises(errors.InvalidHeader) as caught:
        read_torch_header(tmp_path / "w.bin")
    assert "is not run" in caught.value.line
    assert not mark.exists()


@pytest.mark.parametrize("damage", ["cut", "text", "no pickle", "broken pickle", "transposed", "no data", "empty"])
def test_damaged_files(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "w.bin"
    value = torch.ones(4, 6).T if damage == "transposed" else torch.ones(4, 6)
    torch.save({} if damage == "empty" else {"a": value}, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "text":
        path.write_text("version https://example.org/spec")
    elif damage in ("no pickle", "broken pickle", "no data"):
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        lost = {"no pickle": "data.pkl", "no data": "data/0"}.get(damage, "none")
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in content.items():
                if not name.endswith(lost):
                    cut = damage == "broken pickle" and name.endswith("data.pkl")
                    archive.writestr(name, data[:20] if cut else data)
    with pytest.raises(errors.InvalidHeader):
        read_torch_header(path)
