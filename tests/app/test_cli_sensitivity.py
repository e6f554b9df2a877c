"""`sensitivity` on the command line: its JSON, its table, its recipe and its complaints."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import cli
from core.jobs import SensitivityResult
from core.recipe_file import read_recipe
from tests.core import hf_tiny

LICENSE = Path(__file__).parents[2] / "LICENSE"


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    weights = {name: 10 * tensor for name, tensor in hf_tiny.tensors(hf_tiny.CONFIG).items()}
    return hf_tiny.build(tmp_path_factory.mktemp("sensitivity") / "tiny", weights=weights)


def call(capfd, *words: object) -> tuple[int, str, str]:
    code = cli.main([str(word) for word in words])
    captured = capfd.readouterr()
    return code, captured.out, captured.err


def test_it_ranks_and_saves_a_recipe(capfd, source, tmp_path):
    words = ("sensitivity", source, "--to", "q4_0", "--text", LICENSE, "--context", 32, "--chunks", 2)
    saved = tmp_path / "kept.toml"
    code, out, err = call(capfd, *words, "--grow", 10, "--save-recipe", saved, "--json")
    assert (code, err) == (0, "")
    result = SensitivityResult.model_validate_json(out)
    assert (result.target, result.by, result.chunks) == ("Q4_0", "group", 2)
    assert read_recipe(saved).targets == ("Q4_0",)
    assert {rule.type for rule in read_recipe(saved).options.overrides} == {"Q8_0"}
    code, out, _ = call(capfd, *words, "--by", "layer")
    assert code == 0
    assert "Worth keeping in Q8_0" in out or "Nothing can be kept" in out
    assert "blk.0" in out
    assert "All together" in out


@pytest.mark.parametrize(
    "words",
    [
        ("--to", "Q4_0,Q8_0"),
        ("--to", "Q9_9"),
        ("--to", "Q4_0", "--by", "row"),
        ("--to", "Q4_0", "--grow", "-1"),
        ("--to", "Q4_0", "--keep-type", "Q4_K_M"),
        ("--to", "Q4_0", "--text", "LICENSE", "--category", "code"),
        (),
    ],
)
def test_what_makes_no_sense_is_one_line(capfd, source, words):
    code, out, err = call(capfd, "sensitivity", source, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
