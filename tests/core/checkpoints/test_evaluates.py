"""Every form of checkpoint can be evaluated, against a folder or a GGUF file, beside GGUF files, in one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import engine
from core.jobs import CheckpointJob, EvaluateJob, MethodOptions, ModelEvaluation, QuantizeJob, QuantizeOptions
from core.methods.table import EXPORTS, METHODS
from tests.core.checkpoints.loading import build

LICENSE = str(Path(__file__).parents[3] / "LICENSE")
# Methods that need neither a text nor a model trained for them, by the form they are shown in.
PREFERRED = ("int", "nf4", "ternary")
FILES = ("F16", "Q8_0", "Q4_0", "IQ4_NL")


def options_of(export: str) -> MethodOptions:
    """A method that writes this form by plain rounding."""
    name = next(name for name in PREFERRED if export in next(m.exports for m in METHODS if m.name == name))
    grouped = {"bits": 4, "group": 32, "asymmetric": export == "awq"} if name == "int" else {}
    return MethodOptions(method=name, export=export, **grouped)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    """A tiny random model under 'source', all forms of checkpoints of it, and GGUF files, by their names."""
    folder = tmp_path_factory.mktemp("evaluates")
    found = {"source": build(folder / "source")}
    for row in EXPORTS:
        found[row.name] = folder / row.name
        job = CheckpointJob(source=str(found["source"]), output=str(found[row.name]), options=options_of(row.name))
        engine.run(job)
    for name in FILES:
        found[name] = folder / f"{name}.gguf"
        wanted = QuantizeOptions(target=name)
        engine.run(QuantizeJob(source=str(found["source"]), output=str(found[name]), options=wanted))
    return found


def evaluated(made: dict[str, Path], source: str) -> dict[str, ModelEvaluation]:
    others = [name for name in made if name != source]
    models = tuple(str(made[name]) for name in others)
    result = engine.run(EvaluateJob(source=str(made[source]), models=models, text=(LICENSE,), context=32, chunks=4))
    return dict(zip(others, result.models, strict=True))


@pytest.fixture(scope="module")
def found(made) -> dict[str, ModelEvaluation]:
    """All of them against the original."""
    return evaluated(made, "source")


def test_every_form_is_measured_against_the_original(found):
    assert set(found) == {*(row.name for row in EXPORTS), *FILES}
    assert all(0 <= model.mean_kld < 10 for model in found.values())
    assert found["F16"].mean_kld < 1e-5
    for name in set(found) - {"F16"}:
        assert found[name].mean_kld > 10 * found["F16"].mean_kld, name
    assert found["Q8_0"].mean_kld < found["Q4_0"].mean_kld
    # Three values are fewer than sixteen.
    assert found["bitnet"].mean_kld > found["bitsandbytes"].mean_kld


def test_the_same_integers_cost_about_the_same_in_every_form(found):
    """About: scales are rounded to the form's own type."""
    for name in ("gptq", "bf16"):
        assert found[name].mean_kld == pytest.approx(found["compressed-tensors"].mean_kld, rel=0.25)


@pytest.mark.parametrize("source", ["F16", "compressed-tensors"])
def test_a_file_and_a_checkpoint_can_be_the_original(source, made, found):
    against = evaluated(made, source)
    if source == "F16":
        assert against["awq"].mean_kld == pytest.approx(found["awq"].mean_kld, rel=0.2)
    else:
        assert against["source"].mean_kld > against["bf16"].mean_kld
