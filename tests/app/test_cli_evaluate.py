"""`evaluate` on the command line: its JSON, its tables for people, and its complaints."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from app import cli
from core import engine
from core.jobs import QUICK_CHUNKS, EvaluateResult, QuantizeJob, QuantizeOptions
from tests.core import hf_tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> SimpleNamespace:
    """A tiny random model as a folder, and two of its quantizations."""
    folder = tmp_path_factory.mktemp("evaluate")
    weights = {name: 10 * tensor for name, tensor in hf_tiny.tensors(hf_tiny.CONFIG).items()}
    source = hf_tiny.build(folder / "tiny", weights=weights)
    made = {name: folder / f"{name}.gguf" for name in ("Q8_0", "Q4_0")}
    for name, path in made.items():
        engine.run(QuantizeJob(source=str(source), output=str(path), options=QuantizeOptions(target=name)))
    return SimpleNamespace(source=source, **made)


def call(capfd, *words: object) -> tuple[int, str, str]:
    code = cli.main([str(word) for word in words])
    captured = capfd.readouterr()
    return code, captured.out, captured.err


def test_the_json_has_the_models_in_the_order_asked(capfd, models):
    words = ("evaluate", models.Q4_0, models.Q8_0, "--against", models.source, "--text", ROOT / "LICENSE")
    code, out, err = call(capfd, *words, "--context", 32, "--chunks", 3, "--json")
    assert (code, err) == (0, "")
    result = EvaluateResult.model_validate_json(out)
    assert [model.model for model in result.models] == [str(models.Q4_0), str(models.Q8_0)]
    assert (result.context, result.chunks, result.tokens) == (32, 3, 45)
    worse, better = result.models
    assert worse.mean_kld > better.mean_kld > 0
    assert 0 <= worse.same_top_p <= 100
    assert worse.ppl_base == better.ppl_base


def test_people_see_figures_categories_and_words(capfd, models, tmp_path):
    report = tmp_path / "report.html"
    words = ("evaluate", models.Q4_0, models.Q8_0, "--against", models.source, "--context", 32)
    code, out, err = call(capfd, *words, "--quick", "--report", report)
    assert (code, err) == (0, "")
    assert (page := report.read_text(encoding="utf-8")).startswith("<!doctype html>")
    assert "Q4_0" in page
    assert re.search(r"^Q4_0\.gguf +[\d.]+ KiB +[\d.]+ ± [\d.]+ ", out, re.MULTILINE)
    assert re.search(r"^Mean KLD of +chat +code +languages +prose$", out, re.MULTILINE)
    assert f"{QUICK_CHUNKS} windows of 32" in out
    assert "Where Q4_0.gguf disagrees most" in out
    assert len({len(line) for line in out.splitlines()[:4]} - {0}) == 1  # aligned
    code, out, _ = call(capfd, *words, "--category", "code", "--chunks", 2)
    assert code == 0
    assert "evaluation/code.txt" in out
    assert "Mean KLD of" not in out


@pytest.mark.parametrize(
    "words",
    [
        ("--quick", "--chunks", "3"),
        ("--category", "poems"),
        ("--text", "LICENSE", "--category", "code"),
        ("--context", "8"),
        ("--text", "none.txt"),
        ("--report", "no/such/folder/r.html"),
    ],
)
def test_what_makes_no_sense_is_one_line(capfd, models, words):
    code, out, err = call(capfd, "evaluate", models.Q8_0, "--against", models.source, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")


def test_the_original_must_be_named(capfd, models):
    code, _, err = call(capfd, "evaluate", models.Q8_0)
    assert code == 2
    assert "--against" in err
