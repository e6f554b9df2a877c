"""Every mix that llama-quantize offers: our plans choose its types, and our files run in llama.cpp.

Golden: tests/golden/mixes.json, made by tests/golden/make_mixes.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.catalog import MIXES
from core.engine import run
from core.errors import ImatrixNeeded
from core.jobs import ChatJob, QuantizeManyJob, QuantizeOptions, Sampling
from core.plan import make_plan
from core.sources import open_source
from tests.core import mix_models

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "mixes.json").read_text(encoding="utf-8"))["models"]
NEEDS = "needs imatrix"
ROWS = sorted(GOLDEN["sample"])


@pytest.fixture(scope="module")
def models(tmp_path_factory, sample) -> dict[str, tuple[Path, str]]:
    """Each model of the golden table with an importance matrix for it."""
    folder = tmp_path_factory.mktemp("mixes")
    made = {name: mix_models.write_model(folder / f"{name}.gguf", each) for name, each in mix_models.MODELS.items()}
    found = {}
    for name, path in {**made, "sample": sample}.items():
        with open_source(path) as source:
            shapes = {tensor.name: tensor.shape for tensor in source.tensors}
        found[name] = (path, mix_models.write_importance(folder / f"{name}.imatrix", shapes))
    return found


def test_every_mix_of_llama_quantize_is_offered_here():
    offered = {row.removesuffix("+imatrix") for row in ROWS}
    # It has a number for NVFP4 but no name that its command line takes.
    assert {mix.name for mix in MIXES} == offered | {"NVFP4"}


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("row", ROWS)
def test_types_equal_those_of_llama_quantize(models, name, row):
    path, matrix = models[name]
    mix, _, weighted = row.partition("+")
    options = QuantizeOptions(target=mix, imatrix=matrix if weighted else "")
    golden = dict(GOLDEN[name][row])
    with open_source(path) as source:
        if golden.pop(NEEDS, ""):
            with pytest.raises(ImatrixNeeded):
                make_plan(source, options)
            return
        made = make_plan(source, options)
    if golden:
        assert mix_models.compact({tensor.name: tensor.target_type for tensor in made.tensors}) == golden
    else:  # llama-quantize ends for want of a type that fits; ours takes another, and says so
        assert any(tensor.fallback for tensor in made.tensors)


@pytest.mark.parametrize("name", ["llama-tied", "qwen3moe-4"])
def test_every_mix_loads_in_llama_cpp_and_generates(tmp_path, name):
    """One pass makes all mixes of a small model; llama.cpp opens each and forms a token."""
    blueprint = replace(mix_models.MODELS[name], layers=2)
    source = mix_models.write_model(tmp_path / "model.gguf", blueprint)
    matrix = mix_models.write_importance(tmp_path / "model.imatrix", mix_models.shapes(blueprint))
    names = tuple(mix.name for mix in MIXES)
    job = QuantizeManyJob(
        source=str(source),
        targets=names,
        outputs=tuple(str(tmp_path / f"{mix}.gguf") for mix in names),
        options=QuantizeOptions(target=names[0], imatrix=matrix),
    )
    made = run(job)
    assert [each.target for each in made.results] == list(names)
    question = {"prompt": "abc", "sampling": Sampling(temperature=0, max_tokens=2), "context": 64, "threads": 1}
    outputs = [each.output for each in made.results]
    for first, second in zip(outputs[::2], outputs[1::2], strict=True):
        answers = run(ChatJob(model=first, against=second, **question)).turns
        assert [turn.tokens > 0 for turn in answers] == [True, True], (first, second)
