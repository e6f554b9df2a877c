"""One solution in several forms: solved once, the same bytes as one by one, numbers that every form holds exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from core import engine
from core.checkpoints import calibrated
from core.checkpoints.solutions import Solutions
from core.errors import Cancelled, IllegalMethod, OutputNotWritable
from core.jobs import (
    ChatJob,
    ChatResult,
    CheckpointJob,
    CheckpointManyJob,
    CheckpointManyResult,
    CheckpointPlanJob,
    CheckpointResult,
    MethodOptions,
    Plan,
    QuantizeJob,
    QuantizeOptions,
    QuantizeResult,
    Sampling,
)
from core.leftovers import layers_folder
from core.methods import gptq
from core.methods.linear import common_type
from core.methods.table import GGUF_FORM
from core.progress import Progress
from core.sources import open_source
from kernels.reference.scales import rounded
from tests.core import hf_tiny
from tests.core.checkpoints.loading import build, loaded, logits_of, relative_error

FORMS = ("compressed-tensors", "gptq", "awq", "bf16")
OPTIONS = MethodOptions(method="gptq", export=FORMS[0], bits=4, group=32, asymmetric=True, samples=8, length=32)
Contents = dict[str, bytes]


def job(source: Path, output: Path, options: MethodOptions = OPTIONS, exports: tuple[str, ...] = FORMS) -> Any:
    return CheckpointManyJob(source=str(source), output=str(output), exports=exports, options=options)


def made(*arguments: Any, progress: Progress | None = None) -> CheckpointManyResult:
    result = engine.run(job(*arguments), progress)
    assert isinstance(result, CheckpointManyResult)
    return result


def contents(folder: Path) -> Contents:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CheckpointManyResult]:
    out = tmp_path_factory.mktemp("whole") / "out"
    return out, made(source, out)


def test_one_by_one_the_same_bytes(source: Path, whole: tuple[Path, CheckpointManyResult], tmp_path: Path) -> None:
    assert sorted(path.name for path in whole[0].iterdir()) == sorted(FORMS)
    assert [path.name for path in whole[0].parent.iterdir()] == ["out"], "the solved layers are gone"
    for one, result in zip(job(source, tmp_path).jobs, whole[1].results, strict=True):
        alone = engine.run(one)
        assert isinstance(alone, CheckpointResult)
        assert alone.sha256 == result.sha256
        assert alone.layers == result.layers
        assert result.output == str(whole[0] / one.options.export)
        assert contents(tmp_path / one.options.export) == contents(whole[0] / one.options.export)


def test_a_form_that_shares_nothing_is_as_if_made_alone(source: Path, tmp_path: Path) -> None:
    """compressed-tensors and bf16 of symmetric integers: scales as compressed-tensors has them anyway."""
    options = OPTIONS.model_copy(update={"asymmetric": False})
    made(source, tmp_path / "both", options, ("compressed-tensors", "bf16"))
    plain = options.model_copy(update={"export": "compressed-tensors"})
    engine.run(CheckpointJob(source=str(source), output=str(tmp_path / "alone"), options=plain))
    assert contents(tmp_path / "alone") == contents(tmp_path / "both" / "compressed-tensors")


def test_solved_once(monkeypatch: pytest.MonkeyPatch, source: Path, tmp_path: Path) -> None:
    solved: list[int] = []
    solve = gptq.quantize
    monkeypatch.setattr(gptq, "quantize", lambda *arguments: solved.append(1) or solve(*arguments))
    made(source, tmp_path / "out", OPTIONS, ("bf16", "gptq"))
    assert len(solved) == 14


def test_all_hold_the_same_numbers(whole: tuple[Path, CheckpointManyResult]) -> None:
    errors = {result.total.relative_rmse for result in whole[1].results[:3]}
    assert len(errors) == 1
    assert whole[1].results[3].total.relative_rmse == pytest.approx(errors.pop(), rel=1e-2)
    scales = []
    for form, name in (("gptq", "scales"), ("awq", "scales"), ("compressed-tensors", "weight_scale")):
        with safe_open(next((whole[0] / form).glob("*.safetensors")), framework="pt") as file:
            found = file.get_tensor(f"model.layers.0.mlp.up_proj.{name}").float().numpy()
        scales.append(found.T if form == "compressed-tensors" else found)
    np.testing.assert_array_equal(scales[0], scales[1])
    np.testing.assert_array_equal(scales[0], scales[2])


def test_they_load(source: Path, tmp_path: Path) -> None:
    made(source, tmp_path / "out", OPTIONS.model_copy(update={"method": "int", "asymmetric": False}), FORMS[::3])
    packed, plain = (logits_of(loaded(tmp_path / "out" / form)) for form in FORMS[::3])
    assert relative_error(packed, plain) < 2e-2


@pytest.mark.parametrize(
    ("bits", "asymmetric", "target", "largest"), [(4, False, "Q4_0", 0), (8, False, "Q8_0", 0), (4, True, "Q4_1", 5e-4)]
)
def test_a_gguf_file_takes_the_solution_over(
    bits: int, asymmetric: bool, target: str, largest: float, source: Path, tmp_path: Path
) -> None:
    """Groups of 32 are ggml's blocks: codes stay, and scales do where ggml stores no minimum beside them."""
    options = OPTIONS.model_copy(update={"bits": bits, "asymmetric": asymmetric})
    made(source, tmp_path / "out", options, FORMS[:2])
    for form in FORMS[:2]:
        output = str(tmp_path / f"{form}.gguf")
        source_folder = str(tmp_path / "out" / form)
        result = engine.run(QuantizeJob(source=source_folder, output=output, options=QuantizeOptions(target=target)))
        assert isinstance(result, QuantizeResult)
        solved = [row for row in result.tensors if "blk" in row.name and row.type == target]
        assert len(solved) == 14
        assert max(row.relative_rmse for row in solved) <= largest


@pytest.mark.parametrize(
    ("method", "form", "largest"),
    [("gptq", "Q4_0", 0), ("int", "Q8_0", 0), ("awq", "Q4_1", 5e-4), ("hqq", "Q4_1", 5e-4)],
)
def test_a_gguf_file_beside_its_folder(method: str, form: str, largest: float, source: Path, tmp_path: Path) -> None:
    """The same numbers in every tensor, the planned size, and the same bytes as from the finished folder."""
    row = GGUF_FORM[form]
    update = {
        "method": method,
        "bits": row.bits[0],
        "asymmetric": True not in row.symmetric,
        "skip": (r"layers\.1.*up",),
    }
    options = OPTIONS.model_copy(update=update)
    result = made(source, tmp_path / "out", options, (form, "bf16", "compressed-tensors"))
    file, _, folder = result.results
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "bf16",
        "compressed-tensors",
        f"tiny-{form}.gguf",
    ]
    assert (file.output, file.source) == (str(tmp_path / "out" / f"tiny-{form}.gguf"), folder.output)
    again = job(source, tmp_path / "out", options, (form, "bf16", "compressed-tensors")).jobs[0]
    assert CheckpointManyResult.model_validate_json(result.model_dump_json(by_alias=True)) == result
    plan = engine.run(CheckpointPlanJob(source=str(source), options=again_options(options, form)))
    assert isinstance(plan, Plan)
    assert plan.bytes == file.bytes == Path(file.output).stat().st_size
    assert [row.target_type for row in plan.tensors] == [row.type for row in file.tensors]
    with open_source(folder.output) as packed, open_source(file.output) as gguf:
        assert gguf.name == "tiny"
        for tensor in packed.tensors:
            before, after = (each.read(each.tensor(tensor.name)) for each in (packed, gguf))
            assert np.abs(after - before).max() <= largest * np.abs(before).max(), tensor.name
        assert sum(tensor.type == form for tensor in gguf.tensors) == 13
    assert isinstance(again, QuantizeJob)
    repeated = engine.run(again.model_copy(update={"output": str(tmp_path / "again.gguf")}))
    assert isinstance(repeated, QuantizeResult)
    assert repeated.sha256 == file.sha256


def again_options(options: MethodOptions, form: str) -> MethodOptions:
    return options.model_copy(update={"export": form, "beside": ("bf16", "compressed-tensors")})


def test_llama_cpp_runs_the_file(tmp_path: Path) -> None:
    folder = hf_tiny.build(tmp_path / "tiny", {"hidden_size": 64, "intermediate_size": 128})
    options = MethodOptions(method="int", export="gptq", bits=4, group=32)
    file = made(folder, tmp_path / "out", options, ("gptq", "Q4_0")).results[1]
    answer = engine.run(ChatJob(model=file.output, prompt="Hello", sampling=Sampling(max_tokens=4), context=64))
    assert isinstance(answer, ChatResult)
    assert answer.turns[0].tokens > 0


@pytest.mark.parametrize("kept", [0, 1])
def test_goes_on_where_it_was(
    kept: int,
    monkeypatch: pytest.MonkeyPatch,
    source: Path,
    whole: tuple[Path, CheckpointManyResult],
    tmp_path: Path,
) -> None:
    """Killed after a layer, or when all are solved: only what is missing is solved, and the same bytes come out."""

    class Killed(BaseException):
        pass

    keep = Solutions.keep

    def once(self: Solutions, layer: int, found: Any) -> None:
        keep(self, layer, found)
        if layer == kept:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Solutions, "keep", once)
        with pytest.raises(Killed):
            made(source, tmp_path / "out")
    solved: list[int] = []
    solve = gptq.quantize
    monkeypatch.setattr(gptq, "quantize", lambda *arguments: solved.append(1) or solve(*arguments))
    assert layers_folder(tmp_path / "out").is_dir()
    assert [one.sha256 for one in made(source, tmp_path / "out").results] == [one.sha256 for one in whole[1].results]
    assert len(solved) == 7 * (1 - kept)
    assert contents(tmp_path / "out") == contents(whole[0])


@pytest.mark.parametrize(
    ("update", "exports", "remedy"),
    [
        ({"asymmetric": False}, FORMS, "Use --asymmetric"),
        ({"bits": 8}, FORMS, "Use --bits 4"),
        ({"bits": 3, "asymmetric": False}, FORMS, "Use --bits 4 and --asymmetric"),
        ({"group": -1}, FORMS, "Use --group 32"),
        ({"method": "int", "group": 16}, FORMS, "Use --group 32"),
        ({"method": "int", "group": 256, "bits": 5}, ("bf16", "gptq"), "Use --bits 4 and --group 128"),
        (
            {"activations": "dynamic", "bits": 8, "group": -1, "asymmetric": False},
            ("compressed-tensors", "bf16"),
            "Leave bf16 out of --export",
        ),
        ({}, ("gptq", "bitsandbytes"), "Leave bitsandbytes out of --export"),
        ({}, ("gptq", "awk"), "Did you mean awq"),
        ({}, ("gptq", "Q4_0"), "Use no --asymmetric"),
        ({"group": 128, "asymmetric": False}, ("gptq", "Q4_0"), "Use --group 32"),
        ({"asymmetric": False}, ("gptq", "Q8_0"), "Use --bits 8"),
        ({}, ("Q4_1", "bf16"), "Add one of compressed-tensors, gptq, awq to --export"),
        ({"method": "nf4", "bits": 0, "group": None, "asymmetric": False}, ("bitsandbytes", "Q4_0"), "Add one of"),
    ],
)
def test_what_one_of_them_cannot_hold(
    update: dict[str, Any],
    exports: tuple[str, ...],
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
    source: Path,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(calibrated, "solve_layers", lambda *arguments: pytest.fail("nothing is computed"))
    with pytest.raises(IllegalMethod) as caught:
        made(source, tmp_path / "out", OPTIONS.model_copy(update=update), exports)
    assert remedy in caught.value.line
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_stays(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(OutputNotWritable, match="not empty"):
        made(source, tmp_path / "out")
    assert contents(tmp_path / "out") == {"mine": b"mine"}


@pytest.mark.parametrize("method", ["int", "gptq"])
def test_cancelled_in_the_second_form_leaves_nothing(method: str, source: Path, tmp_path: Path) -> None:
    stages: list[str] = []

    def cancelled() -> bool:
        return stages.count("Verifying") > 0 and stages[-1] != "Verifying"

    def seen(snapshot: Any) -> None:
        if not stages or stages[-1] != snapshot.stage:
            stages.append(snapshot.stage)

    options = OPTIONS.model_copy(update={"method": method})
    with pytest.raises(Cancelled):
        made(source, tmp_path / "out", options, ("gptq", "awq"), progress=Progress(seen, cancelled))
    assert list(tmp_path.iterdir()) == []


def test_numbers_of_both_types() -> None:
    x = np.exp2(np.linspace(-30, 15, 4001, dtype=np.float32))
    both = rounded(x, common_type(["F32", "F16", "BF16"]))
    np.testing.assert_array_equal(both, rounded(both, "F16"))
    np.testing.assert_array_equal(both, rounded(both, "BF16"))
    assert common_type(["F32"]) == "F32"
    assert common_type(["F32", "F16"]) == "F16"
